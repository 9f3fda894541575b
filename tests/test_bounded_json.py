"""JSON of strangers is refused by its depth, by every reader of it, and never ends in a
RecursionError.
"""

import json
import sys

import numpy as np
import pytest

from jattr.attribution.pilot_files import PilotStudyFiles
from jattr.attribution.result_json import parse_result
from jattr.bounded_json import MAX_DEPTH, NestingError, read_json_text
from jattr.decision.calibration_json import from_json
from jattr.errors import InputError
from jattr.generators.card_json import read_json
from jattr.ledger.canonical import parse_canonical
from jattr.ledger.identity import read_identity
from jattr.ledger.leaves import parse_leaf
from jattr.verification.latents import read_latents


def deep(depth, inside=""):
    return "[" * depth + inside + "]" * depth


@pytest.mark.parametrize("inside", ["", "[1, 2]", '{"]": "[", "\\\\": "\\"[[["}'])
def test_depth_is_that_of_the_value(inside):
    left = MAX_DEPTH - (inside != "")
    text = deep(left, inside)
    assert read_json_text(text) == json.loads(text)
    with pytest.raises(NestingError, match="more than 32 deep"):
        read_json_text(deep(left + 1, inside))
    wide = f"[{','.join([deep(MAX_DEPTH - 1)] * 50)}]"
    assert len(read_json_text(wide)) == 50


@pytest.mark.parametrize(
    "text",
    ['["' + '\\"[' * 100_000, deep(30) * 2, "]" * 50 + "[" * 40, '"' + "[" * 50, "[" * 32 + "\\"],
)
def test_what_is_no_json_is_refused_at_once(text):
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|Extra data|nested"):
        read_json_text(text)


def depths():
    """Depths around every limit: ours, and those at which one of Python's own recursions ends
    and another does not.
    """
    limit = sys.getrecursionlimit()
    return [33, 100, *range(limit - 200, limit + 20, 4), 100_000]


def as_file(read, name, text, folder):
    (folder / name).write_text(text, encoding="utf-8")
    return read(folder / name if name != "log.json" else folder)


def of_latents(text, folder, tiny):
    np.savez(
        folder / "latents.npz",
        z=np.zeros((1, 6), np.float32),
        digest=np.array(tiny.digest),
        settings=np.array(text),
    )
    return read_latents(folder / "latents.npz", tiny, limit=9)


READERS = {
    "canonical": lambda text, folder, tiny: parse_canonical(text.encode(), "it", 10**6),
    "leaf": lambda text, folder, tiny: parse_leaf(text.encode()[:65_535]),
    "log": lambda text, folder, tiny: as_file(read_identity, "log.json", text, folder),
    "result": lambda text, folder, tiny: parse_result(text),
    "calibration": lambda text, folder, tiny: from_json(text),
    "card": lambda text, folder, tiny: as_file(read_json, "card.json", text, folder),
    "latents": of_latents,
}


@pytest.mark.parametrize("shape", ["list", "object", "schema", "settings"])
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_recurs(reader, shape, tmp_path, tiny):
    for depth in depths():
        if reader == "latents" and depth > 2000:
            continue  # numpy keeps texts at 4 bytes a letter
        inner = deep(depth) if shape != "object" else '{"a":' * depth + "1" + "}" * depth
        text = inner if shape in ("list", "object") else f'{{"{shape}":{inner}}}'
        with pytest.raises(InputError) as caught:
            READERS[reader](text, tmp_path, tiny)
        assert "\n" not in str(caught.value)


def test_a_pilot_study_that_is_damaged_is_made_again(tmp_path):
    for depth in depths():
        (tmp_path / "a.json").write_text(deep(depth), encoding="utf-8")
        assert "a" not in PilotStudyFiles(tmp_path)
