"""Uses are in the log before they are made, and again before they are released."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_logs import FakeGenerator, Owner, latents_of, owner

from jattr.errors import LedgerError
from jattr.images import encode_png, to_byte
from jattr.ledger.commitments import (
    file_value,
    parse_latent,
    parse_recipient,
    parse_seed,
    pixels_value,
)
from jattr.ledger.evidence.window import Leaves
from jattr.ledger.leaves import IntentLeaf, ModelLeaf, ResultLeaf, commitments_of, parse_leaf
from jattr.ledger.perceptual import perceptual_hash
from jattr.ledger.private import FILE, PrivateStore
from jattr.ledger.recording import Recorder, generator_code_digest, model_leaf
from jattr.ledger.store import LogStore

FAKE = FakeGenerator()


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Owner]:
    with owner(tmp_path) as found:
        yield found


def leaves_of(log: LogStore) -> list[Any]:
    return [parse_leaf(entry) for entry in log.entries(0, log.size)]


def opened(mine: Owner, commitment: str | None) -> bytes:
    opening = mine.private.opening(bytes.fromhex(commitment or ""))
    assert opening is not None
    return opening.value


def test_a_use_from_beginning_to_end(mine: Owner) -> None:
    z = latents_of(0, 3)
    intents = mine.recorder.intend(
        FAKE, z, seed=7, first=4, beacon="a round of drand", settings={"batch": 3}
    )
    assert [type(leaf) for leaf in leaves_of(mine.log)] == [
        ModelLeaf,
        IntentLeaf,
        IntentLeaf,
        IntentLeaf,
    ]
    pixels = FAKE.pixels(z)
    files = [encode_png(one) for one in pixels]
    released = mine.recorder.release(intents, pixels, files=files, recipient="Ada")
    leaves = leaves_of(mine.log)
    assert leaves[0] == model_leaf(FAKE)
    assert (leaves[0].digest, leaves[0].weights_digest) == (FAKE.digest, FAKE.weights_digest)
    for i, one in enumerate(released):
        result, intent = leaves[one.entry], leaves[one.intent]
        assert (result.intent, intent.model) == (intents[i], 0)
        assert (intent.beacon, intent.settings) == ("a round of drand", {"batch": 3})
        found, space, label = parse_latent(opened(mine, intent.latent))
        np.testing.assert_array_equal(found, z[i])
        assert (space, label) == ("z", None)
        assert parse_seed(opened(mine, intent.seed)) == (7, 4 + i)
        assert opened(mine, result.file) == file_value(files[i])
        assert opened(mine, result.pixels) == pixels_value(pixels[i])
        assert opened(mine, result.perceptual) == perceptual_hash(pixels[i])
        assert parse_recipient(opened(mine, result.recipient)) == "Ada"
        assert [o.field for o in one.openings] == ["file", "pixels", "recipient"]
        assert mine.private.image(bytes.fromhex(result.pixels)) == files[i]


def test_equal_values_have_different_commitments(mine: Owner) -> None:
    z = np.repeat(latents_of(0, 1), 5, axis=0)
    mine.use(FAKE, z, FAKE.pixels(z))
    stated = [value for leaf in leaves_of(mine.log) for _, value in commitments_of(leaf)]
    assert len(stated) == len(set(stated)) == 5 * (1 + 4)


def test_the_public_log_shows_no_value(mine: Owner) -> None:
    z = latents_of(0, 2)
    pixels = FAKE.pixels(z)
    mine.use(FAKE, z, pixels, seed=123456789)
    entries = b"".join(mine.log.entries(0, mine.log.size))
    hidden = [
        b"Ada",
        b"123456789",
        pixels_value(pixels[0]).hex().encode(),
        perceptual_hash(pixels[0]).hex().encode(),
    ]
    assert not [value for value in hidden if value in entries]


def test_a_model_is_named_once_by_each_recorder_and_anew_under_other_settings(mine: Owner) -> None:
    z = latents_of(0, 1)
    for _ in range(2):
        mine.recorder.intend(FAKE, z)
    mine.recorder.intend(dataclasses.replace(FAKE, rounding="truncate"), z)
    models = [leaf for leaf in leaves_of(mine.log) if isinstance(leaf, ModelLeaf)]
    assert [leaf.settings["rounding"] for leaf in models] == ["round", "truncate"]


def test_the_code_of_generators_is_a_part_of_the_model(tmp_path: Path) -> None:
    assert model_leaf(FAKE).code_digest == generator_code_digest()
    assert len(generator_code_digest()) == 64


def test_images_need_not_be_kept(mine: Owner) -> None:
    recorder = Recorder(mine.log, mine.private, keep_images=False)
    z = latents_of(0, 1)
    (one,) = recorder.release(recorder.intend(FAKE, z), FAKE.pixels(z))
    leaf = parse_leaf(mine.log.entry(one.entry))
    assert isinstance(leaf, ResultLeaf)
    assert mine.private.image(bytes.fromhex(leaf.pixels)) is None
    assert (leaf.file, leaf.recipient) == (None, None)
    assert [o.field for o in one.openings] == ["pixels"]


def test_conditional_uses_commit_to_their_label(mine: Owner) -> None:
    gen, z = dataclasses.replace(FAKE, num_classes=3), latents_of(0, 2)
    for number in mine.recorder.intend(gen, z, labels=np.array([2, 0], np.int32)):
        leaf = parse_leaf(mine.log.entry(number))
        assert isinstance(leaf, IntentLeaf)
        assert parse_latent(opened(mine, leaf.latent))[2] == (2 if number == 1 else 0)
    with pytest.raises(LedgerError, match="give a label for each latent"):
        mine.recorder.intend(gen, z)


@pytest.mark.parametrize(
    ("latents", "options", "words"),
    [
        (np.zeros((2, 5), np.float32), {}, "latents"),
        (np.zeros((2, 6)), {}, "float64"),
        (np.full((1, 6), np.nan, np.float32), {}, "finite"),
        (np.zeros((1, 6), np.float32), {"seed": -1}, "seed"),
        (np.zeros((1, 6), np.float32), {"beacon": "two\nlines"}, "beacon"),
        (np.zeros((1, 6), np.float32), {"settings": {"psi": 0.5}}, "psi"),
    ],
)
def test_what_cannot_be_an_intent_leaves_no_intent(
    mine: Owner, latents: Any, options: Any, words: str
) -> None:
    with pytest.raises(LedgerError, match=words):
        mine.recorder.intend(FAKE, latents, **options)
    assert not [leaf for leaf in leaves_of(mine.log) if isinstance(leaf, IntentLeaf)]


def test_noise_that_is_not_kept_is_refused(mine: Owner) -> None:
    from jattr.generators.settings import Settings

    for noise in ("random", "given"):
        with pytest.raises(LedgerError, match="could never be made again"):
            mine.recorder.intend(
                dataclasses.replace(FAKE, settings=Settings(noise=noise)), latents_of(0, 1)
            )
    styled = dataclasses.replace(FAKE, settings=Settings(psi=0.7, noise="search"))
    assert model_leaf(styled).settings == {
        "space": "z", "rounding": "round", "psi": "0.7", "cutoff": None, "noise": "search"
    }  # fmt: skip


def test_what_cannot_be_a_result_leaves_no_result(mine: Owner) -> None:
    z = latents_of(0, 2)
    intents, pixels = mine.recorder.intend(FAKE, z), FAKE.pixels(z)
    size = mine.log.size
    wrong: list[tuple[Any, Any, Any]] = [
        (intents, pixels[:1], {}),
        (intents, pixels, {"files": [b"one"]}),
        ([0, 1], pixels, {}),  # entry 0 is the model's
        ([size, size + 1], pixels, {}),
        (intents, pixels.astype(np.float32), {}),
        (intents, pixels, {"recipient": ""}),
    ]
    for places, made, options in wrong:
        with pytest.raises(LedgerError):
            mine.recorder.release(places, made, **options)
    assert mine.log.size == size


def test_salts_are_on_the_disk_before_the_leaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When `append` is called, another process could already open every commitment."""
    with owner(tmp_path) as mine:
        append, unopened = mine.log.append, []

        def watched(entries: Any) -> range:
            with PrivateStore.open(tmp_path / "log") as other:
                stated = [
                    value for entry in entries for _, value in commitments_of(parse_leaf(entry))
                ]
                unopened.extend(
                    value for value in stated if other.opening(bytes.fromhex(value)) is None
                )
            return append(entries)

        monkeypatch.setattr(mine.log, "append", watched)
        z = latents_of(0, 2)
        mine.use(FAKE, z, FAKE.pixels(z), seed=1)
        assert unopened == []
        assert mine.log.size == 5


def test_a_use_that_dies_between_is_an_orphan(mine: Owner) -> None:
    z = latents_of(0, 2)
    first = mine.recorder.intend(FAKE, z)
    mine.use(FAKE, z, FAKE.pixels(z))
    leaves = Leaves(mine.log.entry)
    for number, entry in enumerate(mine.log.entries(0, mine.log.size)):
        leaves.read(number, entry)
    assert leaves.orphans() == list(first)


def test_a_lost_private_file_stops_recording(tmp_path: Path) -> None:
    with owner(tmp_path):
        pass
    for path in (tmp_path / "log").glob(FILE + "*"):
        path.unlink()
    with pytest.raises(LedgerError, match="is missing"):
        PrivateStore.open(tmp_path / "log")


# With a generator of jax: every `generate` within the block is seen.


def test_arrays_that_leave_are_logged(mine: Owner, tiny: Any) -> None:
    z = latents_of(1, 3)
    outside = tiny.generate(z)
    with mine.recorder.recording(tiny, recipient="Bob") as released:
        assert released == []
        made = tiny.generate(z[:2])
        tiny.generate(z[2:])
    tiny.generate(z)
    assert [one.entry for one in released] == [3, 4, 6]
    np.testing.assert_array_equal(made, outside[:2])
    for i, one in enumerate(released):
        result, intent = (
            parse_leaf(mine.log.entry(one.entry)),
            parse_leaf(mine.log.entry(one.intent)),
        )
        assert isinstance(result, ResultLeaf)
        assert isinstance(intent, IntentLeaf)
        assert opened(mine, result.pixels) == pixels_value(
            to_byte(np.asarray(outside[i]), rule="round")
        )
        assert parse_recipient(opened(mine, result.recipient)) == "Bob"
        np.testing.assert_array_equal(parse_latent(opened(mine, intent.latent))[0], z[i])
    assert mine.log.size == 7


def test_labels_are_logged_with_latents(mine: Owner, tiny_conditional: Any) -> None:
    with mine.recorder.recording(tiny_conditional) as released:
        tiny_conditional.generate(latents_of(1, 2), label=np.array([2, 1]))
        tiny_conditional.generate(latents_of(2, 1), label=0)
    intents = [parse_leaf(mine.log.entry(one.intent)) for one in released]
    assert [
        parse_latent(opened(mine, leaf.latent))[2]
        for leaf in intents
        if isinstance(leaf, IntentLeaf)
    ] == [2, 1, 0]


def test_blocks_within_each_other_log_each_their_own(
    tmp_path: Path, tiny: Any, tiny_conditional: Any
) -> None:
    with owner(tmp_path / "a") as one, owner(tmp_path / "b") as other:
        recording = one.recorder.recording
        with recording(tiny) as mine, other.recorder.recording(tiny_conditional) as theirs:
            tiny.generate(latents_of(1, 2))
            tiny_conditional.generate(latents_of(1, 3), label=1)
        assert (len(mine), len(theirs)) == (2, 3)
        with recording(tiny) as mine, other.recorder.recording(tiny) as theirs:
            tiny.generate(latents_of(1, 1))
        assert (len(mine), len(theirs)) == (1, 1)


def test_an_image_that_is_not_made_leaves_an_orphan(
    mine: Owner, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = dataclasses.replace(tiny, apply=lambda *args, **options: 1 / 0)
    with mine.recorder.recording(tiny) as released, pytest.raises(ZeroDivisionError):
        broken.generate(latents_of(1, 1))
    assert released == []
    assert [type(leaf) for leaf in leaves_of(mine.log)] == [ModelLeaf, IntentLeaf]
    tiny.generate(latents_of(1, 1))
    assert mine.log.size == 2  # the block has ended, with an error or without


def test_what_cannot_be_logged_is_not_given_out(mine: Owner, tiny: Any) -> None:
    import jax

    with mine.recorder.recording(tiny), pytest.raises(LedgerError, match="jit, grad or vmap"):
        jax.jit(tiny.generate)(latents_of(1, 1))
    with mine.recorder.recording(tiny), pytest.raises(LedgerError, match="recipient"):
        mine.recorder.release(
            mine.recorder.intend(tiny, latents_of(1, 1)),
            np.zeros((1, 8, 8, 3), np.uint8),
            recipient="",
        )
    mine.log.close()
    with (
        mine.recorder.recording(tiny) as released,
        pytest.raises(LedgerError, match="cannot write"),
    ):
        tiny.generate(latents_of(1, 1))
    assert released == []
