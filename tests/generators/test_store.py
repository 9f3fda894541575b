"""Generator folders: what is written comes back, and nothing in a folder of others is believed."""

import contextlib
import json
import os
import shutil

import jax
import numpy as np
import pytest
from jattr.converters.layered import convert_layered
from tiny_generator import tiny_card_data, tiny_weights

from jattr.errors import GeneratorError, InputError
from jattr.generators import store
from jattr.generators.card import parse_card
from jattr.generators.store import load_generator, save_generator

KERNEL = "params/layers.4.kernel"


def parts(**options):
    card = parse_card(tiny_card_data(**options))
    return card, convert_layered(card, tiny_weights())


@pytest.fixture
def folder(tiny_folders, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(tiny_folders["tiny"], tmp_path / "spoiled")


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder):
    with pytest.raises(InputError) as caught:
        load_generator(folder)
    return str(caught.value)


def test_what_is_saved_comes_back(tmp_path, tiny):
    saved = save_generator(tmp_path / "a" / "tiny", *parts())
    loaded = load_generator(tmp_path / "a" / "tiny")
    for name in (
        "name",
        "digest",
        "weights_digest",
        "card",
        "latent_shape",
        "image_shape",
        "prior",
        "num_classes",
    ):
        assert getattr(loaded, name) == getattr(saved, name) == getattr(tiny, name), name
    z = tiny.sample_latent(jax.random.key(0), 3)
    assert (loaded.generate(z) == tiny.generate(z)).all()
    assert loaded.apply is tiny.apply
    assert sorted(os.listdir(tmp_path / "a" / "tiny")) == ["card.json", "params"]
    assert os.listdir(tmp_path / "a") == ["tiny"]


def test_card_json_is_a_card_and_two_digests(tiny_folders, tiny):
    data = json.loads((tiny_folders["tiny"] / "card.json").read_text())
    assert (data.pop("digest"), data.pop("weights_digest")) == (tiny.digest, tiny.weights_digest)
    assert parse_card(data) == parse_card(tiny_card_data())


def test_a_conditional_generator_comes_back(tiny_folders, tiny_conditional):
    assert load_generator(tiny_folders["tiny_conditional"]).digest == tiny_conditional.digest


def test_a_changed_card_names_both_digests(folder, tiny):
    edit_json(folder / "card.json", value_range=[-1, 2])
    text = refusal(folder)
    assert f"states the digest {tiny.digest} but has " in text


def test_a_changed_weight_names_both_digests(folder, tiny):
    chunk = folder / KERNEL / "0.0.0.0"
    array = np.fromfile(chunk, "<f4")
    array[7] += 1
    array.tofile(chunk)
    assert f"states the weights_digest {tiny.weights_digest} but has " in refusal(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(folder, value):
    chunk = folder / KERNEL / "0.0.0.0"
    array = np.fromfile(chunk, "<f4")
    array[7] = value
    array.tofile(chunk)
    assert "layers/4/kernel is float32, or holds infinities" in refusal(folder)


def spoil_card(text):
    return lambda folder: (folder / "card.json").write_text(text)


def spoil_header(**changes):
    return lambda folder: edit_json(folder / KERNEL / ".zarray", **changes)


def add_tensor(folder):
    shutil.copytree(folder / KERNEL, folder / "params" / "layers.9.kernel")


def replace_by_link(folder):
    (folder / KERNEL / "0.0.0.0").unlink()
    (folder / KERNEL / "0.0.0.0").symlink_to("/dev/zero")


def replace_by_pipe(folder):
    (folder / KERNEL / "0.0.0.0").unlink()
    os.mkfifo(folder / KERNEL / "0.0.0.0")


def link_params(folder):
    (folder / "params").rename(folder / "elsewhere")
    (folder / "params").symlink_to(folder / "elsewhere")


SPOILED = {
    "no card": (lambda folder: (folder / "card.json").unlink(), "has no card.json"),
    "no digests": (lambda f: edit_json(f / "card.json", digest=None), "has no digest of 64"),
    "card is no object": (spoil_card("[]"), "must be an object"),
    "card is no JSON": (spoil_card("{"), "not JSON"),
    "unknown kind": (lambda f: edit_json(f / "card.json", kind="other"), "kind"),
    "no params": (lambda folder: shutil.rmtree(folder / "params"), "cannot be read"),
    "params is a link": (link_params, "is not a folder"),
    "no metadata": (lambda f: (f / "params/_METADATA").unlink(), "cannot be read by Orbax"),
    "metadata is no JSON": (
        lambda f: (f / "params/_METADATA").write_text("{"),
        "cannot be read by Orbax",
    ),
    "metadata says zarr 3": (
        lambda f: edit_json(f / "params/_METADATA", use_zarr3=True),
        "cannot be read by Orbax",
    ),
    "a file more": (
        lambda f: (f / "params/checkpoint").write_bytes(b"\x80"),
        "is no stored tensor",
    ),
    "a tensor more": (add_tensor, '"layers/9/kernel" is no tensor of this card'),
    "a tensor less": (lambda f: shutil.rmtree(f / KERNEL), "layers/4/kernel is missing"),
    "an optional tensor less": (
        lambda f: shutil.rmtree(f / "params/layers.4.bias"),
        "do not match",
    ),
    "a chunk less": (lambda f: (f / KERNEL / "0.0.0.0").unlink(), "one chunk"),
    "a chunk too short": (
        lambda f: os.truncate(f / KERNEL / "0.0.0.0", 100),
        "has not the 2048 bytes",
    ),
    "a chunk too long": (
        lambda f: os.truncate(f / KERNEL / "0.0.0.0", 1 << 40),
        "has 1099511627776 bytes",
    ),
    "a chunk is a link": (replace_by_link, "is a link, a pipe or a folder"),
    "a chunk is a pipe": (replace_by_pipe, "is a link, a pipe or a folder"),
    "a chunk of another name": (
        lambda f: (f / KERNEL / "0.0.0.0").rename(f / KERNEL / "1.0.0.0"),
        "should be",
    ),
    "compressed": (spoil_header(compressor={"id": "zstd", "level": 1}), "has compressor"),
    "float64": (spoil_header(dtype="<f8"), "stored tensors are float32"),
    "integers": (spoil_header(dtype="<i4"), "stored tensors are float32"),
    "transposed": (spoil_header(order="F"), "has order"),
    "huge": (
        spoil_header(shape=[1 << 30, 1 << 30, 4, 4], chunks=[1 << 30, 1 << 30, 4, 4]),
        "has not the",
    ),
    "huge chunks": (spoil_header(chunks=[1 << 20, 4, 8, 4]), "chunks equal to the shape"),
    "negative": (
        spoil_header(shape=[-4, -4, 8, 4], chunks=[-4, -4, 8, 4]),
        "up to 8 positive numbers",
    ),
    "another shape of the same size": (
        spoil_header(shape=[4, 4, 4, 8], chunks=[4, 4, 4, 8]),
        "8 input channels",
    ),
    "fewer axes": (
        lambda f: (
            spoil_header(shape=[512], chunks=[512])(f),
            (f / KERNEL / "0.0.0.0").rename(f / KERNEL / "0"),
        ),
        "has the shape [512]",
    ),
    "header is no JSON": (lambda f: (f / KERNEL / ".zarray").write_text("{"), "not JSON"),
    "header is a list": (lambda f: (f / KERNEL / ".zarray").write_text("[]"), "has compressor"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_folder_is_refused_with_its_reason(folder, case):
    spoil, words = SPOILED[case]
    spoil(folder)
    assert words in refusal(folder)


def test_shapes_are_checked_before_any_array_is_read(folder, monkeypatch):
    monkeypatch.setattr(store, "read_params", lambda *_: pytest.fail("the arrays were read"))
    spoil_header(shape=[4, 4, 4, 8], chunks=[4, 4, 4, 8])(folder)
    refusal(folder)


@pytest.mark.parametrize("seed", range(40))
def test_mutated_metadata_is_an_error_or_changes_nothing(folder, tiny, seed):
    rng = np.random.default_rng(seed)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name.startswith((".z", "_M", "card"))
    )
    path = files[rng.integers(len(files))]
    data = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(len(data))
        data[at : at + rng.integers(0, 3)] = rng.integers(
            32, 127, rng.integers(0, 3), np.uint8
        ).tobytes()
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        assert load_generator(folder).digest == tiny.digest


@pytest.mark.parametrize("name", ["nobody", "", ".", "a/b", "\0"])
def test_generators_that_do_not_exist(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GeneratorError, match="jattr convert"):
        load_generator(name)


def test_a_generator_folder_does_not_say_where_it_was_made(tiny_folders):
    place = str(tiny_folders["tiny"].parent).encode()
    files = [path for path in tiny_folders["tiny"].rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path.name for path in files if place in path.read_bytes()]
