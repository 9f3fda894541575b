"""`convert`: weights and card to a generator folder, and every way in which they may not fit."""

import hashlib
import json
import os

import numpy as np
import pytest
from jattr.converters.convert import convert
from jattr.converters.detect import FORMATS
from jattr.converters.layered import convert_layered
from jattr.converters.rules import Format
from safetensors.numpy import save_file
from tiny_generator import tiny_card_data, tiny_weights

from jattr.errors import CardError, CheckpointError, ConversionError, OutputError
from jattr.generators.card import KINDS, parse_card
from jattr.generators.family import FAMILIES
from jattr.generators.registry import GENERATORS
from jattr.generators.store import load_generator


@pytest.fixture
def write(tmp_path):
    """Write a weights file and its card, and return the card's path."""

    def write(state=None, **changes):
        save_file(tiny_weights() if state is None else state, tmp_path / "tiny.safetensors")
        data = tiny_card_data() | {"weights": "tiny.safetensors"} | changes
        (tmp_path / "tiny.json").write_text(json.dumps(data))
        return tmp_path / "tiny.json"

    return write


def problems(state, data=None):
    """The lines of the one error that `state` and the card raise."""
    with pytest.raises(ConversionError) as caught:
        convert_layered(parse_card(data or tiny_card_data()), state)
    return str(caught.value).splitlines()


def test_a_card_finds_its_weights_beside_it(write, tmp_path, tiny):
    generator = convert(write(), tmp_path / "out")
    assert generator.digest == tiny.digest == load_generator(tmp_path / "out").digest
    assert generator.name == "tiny"


def test_a_weights_file_with_a_card_is_the_same(write, tmp_path):
    card = write()
    first = convert(card, tmp_path / "a")
    assert convert(tmp_path / "tiny.safetensors", tmp_path / "b", card=card).card == first.card


def test_the_source_file_is_recorded(write, tmp_path):
    generator = convert(write(source={"repository": "me/mine"}), tmp_path / "out")
    digest = hashlib.sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest()
    assert generator.card["source"] == {
        "repository": "me/mine",
        "sha256": digest,
        "file": "tiny.safetensors",
    }
    generator = convert(write(source="from a friend"), tmp_path / "text")
    assert generator.card["source"] == {
        "text": "from a friend",
        "sha256": digest,
        "file": "tiny.safetensors",
    }


def test_another_file_than_the_card_states_is_refused(write, tmp_path):
    with pytest.raises(ConversionError, match=r"states '00' in source\.sha256"):
        convert(write(source={"sha256": "00"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_mismatch_is_in_one_error():
    state = tiny_weights()
    del state["fc.bias"], state["net.0.running_mean"]
    state |= {
        "extra.weight": np.ones(3, np.float32),
        "net.5.weight": np.ones((3, 5, 3, 3), np.float32),
    }
    state["net.2.bias"] = np.ones(4, np.int32)
    state["net.2.weight"] = np.full((8, 4, 4, 4), np.nan, np.float32)
    lines = problems(state)
    assert lines[0] == "card 'tiny' and its weights do not fit:"
    assert [line.strip() for line in lines[1:]] == [
        (
            'layer 2 (batch_norm, key "net.0"): there is no tensor "net.0.running_mean"; correct'
            " the"
            " key"
        ),
        'layer 7 (conv, key "net.5"): 4 input channels arrive but the weight [3, 5, 3, 3] takes 5',
        'left over in the file: "extra.weight"; if it is not the generator\'s, add it to `ignore`',
        (
            '"net.2.weight" has values that are not finite in float32; training diverged, or a'
            " damaged"
            " file"
        ),
        '"net.2.bias" is int32; weights are floating-point numbers',
    ]


def missing(state):
    del state["net.5.weight"]


def left_over(state):
    state["encoder.weight"] = np.ones(3, np.float32)


def transposed(state):
    state["fc.weight"] = state["fc.weight"].T


def too_large(state):
    state["fc.bias"] = np.full(32, 1e300)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, 'there is no tensor "net.5.weight"'),
        (left_over, 'left over in the file: "encoder.weight"'),
        (transposed, "6 features arrive but the weight [6, 32] takes 32"),
        (too_large, '"fc.bias" has values that are not finite in float32'),
    ],
)
def test_single_mismatches_are_named(spoil, words):
    state = tiny_weights()
    spoil(state)
    assert any(words in line for line in problems(state))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["layers", 4, "stride"], 1, "the last layer gives [3, 6, 6] but image_shape is [3, 8, 8]"),
        (["layers", 1, "shape"], [4, 2, 4], '(batch_norm, key "net.0"): weight [8], bias [8]'),
        (["layers", 0, "key"], "head", 'there is no tensor "head.weight"'),
        (["latent", "dim"], 7, "7 features arrive"),
        (["image_shape"], [1, 8, 8], "image_shape is [1, 8, 8]"),
    ],
)
def test_a_card_of_another_network_is_refused(path, value, words):
    part = data = tiny_card_data()
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    assert any(words in line for line in problems(tiny_weights(), data))


def test_a_hundred_problems_are_not_all_listed():
    lines = problems({f"extra{i}": np.ones(1, np.float32) for i in range(100)} | tiny_weights())
    assert len(lines) < 25
    assert lines[-1].strip() == "... and 80 more"


@pytest.mark.parametrize("dtype", [np.float16, np.float64, "bfloat16"])
def test_other_floats_become_float32(dtype):
    import ml_dtypes

    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    state = {
        key: array.astype(dtype) for key, array in tiny_weights().items() if "tracked" not in key
    }
    params = convert_layered(parse_card(tiny_card_data()), state)
    assert params["layers"]["0"]["bias"].dtype == np.float32
    assert (params["layers"]["0"]["bias"] == state["fc.bias"].astype(np.float32)).all()


def test_names_with_module_before_them_are_understood(tiny):
    state = {f"module.{key}": array for key, array in tiny_weights().items()}
    card = parse_card(tiny_card_data())
    assert (
        convert_layered(card, state)["layers"]["0"]["kernel"] == tiny_weights()["fc.weight"].T
    ).all()


def test_ignored_prefixes_are_ignored():
    state = tiny_weights() | {"encoder.weight": np.ones(3, np.float32)}
    convert_layered(parse_card(tiny_card_data() | {"ignore": ["encoder."]}), state)


def test_the_stored_tensors_are_exactly_those_of_the_file():
    state, params = tiny_weights(), convert_layered(parse_card(tiny_card_data()), tiny_weights())
    layers = params["layers"]
    assert sorted(layers) == ["0", "2", "4", "7"]
    assert (layers["0"]["kernel"] == state["fc.weight"].T).all()
    assert (layers["4"]["kernel"][1, 2, 3, 0] == state["net.2.weight"][3, 0, 1, 2]).all()
    assert (layers["7"]["kernel"][1, 2, 3, 0] == state["net.5.weight"][0, 3, 1, 2]).all()
    assert sorted(layers["2"]) == ["bias", "mean", "scale", "var"]
    assert sum(leaf.size for layer in layers.values() for leaf in layer.values()) == sum(
        array.size for key, array in state.items() if "tracked" not in key
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arch": "stylegan9"}, "a card states the whole architecture"),
        ({"source": "tiny.safetensors"}, "is of no known family"),
        ({"source": "."}, "is of no known family"),
        ({"source": "empty"}, "is a folder without config.json"),
        ({"source": "empty", "card": "tiny.json"}, "is a folder without config.json"),
        ({"source": "nothing.json"}, "cannot be read"),
        ({"source": "nothing.pt", "card": "tiny.json"}, "cannot be read"),
        ({"card": "tiny.safetensors"}, "tiny.safetensors"),
    ],
)
def test_what_cannot_be_converted_leaves_nothing(write, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(write().parent)
    (tmp_path / "empty").mkdir()
    source = options.pop("source", "tiny.json")
    with pytest.raises((ConversionError, CardError, CheckpointError), match=words):
        convert(source, "out", **options)
    assert sorted(os.listdir()) == ["empty", "tiny.json", "tiny.safetensors"]


def test_a_card_without_weights_says_so(write, tmp_path):
    with pytest.raises(ConversionError, match="names no `weights` file"):
        convert(write(weights=None), tmp_path / "out")


def test_a_folder_that_exists_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        convert(tmp_path / "nothing.json", tmp_path / "out")


def test_every_kind_of_card_can_be_converted_and_built():
    assert set(GENERATORS) == {*KINDS, *FAMILIES}
    assert {format.kind for format in FORMATS.values() if isinstance(format, Format)} == set(
        FAMILIES
    )
