"""Folders of weights: shards and their index, variants, pipelines, and what is taken for them."""

import json
import os

import numpy as np
import pytest
from autoencoder_files import CONFIG, state_dict
from dcgan_files import generator_state
from fuzz_files import state_program, zip_file
from jattr.converters.convert import convert
from jattr.converters.weights_folder import read_weights
from safetensors.numpy import save_file

from jattr.converters import weights_folder
from jattr.errors import CheckpointError, ConversionError

STATE = generator_state()
VAE = state_dict()
STEM = "diffusion_pytorch_model"


def write_file(path, tensors):
    if path.suffix == ".safetensors":
        save_file(tensors, path)
        return
    floats = {name: array for name, array in tensors.items() if array.dtype == np.float32}
    storages = {str(index): array.reshape(-1) for index, array in enumerate(floats.values())}
    path.write_bytes(zip_file(state_program(floats), storages))


def write_shards(
    folder, tensors, count, *, stem="model", suffix="safetensors", variant=None, index=None
):
    """Write shards and their index as transformers and diffusers do; return the index's path."""
    folder.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    names = list(tensors)
    middle = f".{variant}" if variant else ""
    for i in range(count):
        name = f"{stem}{middle}-{i + 1:05}-of-{count:05}.{suffix}"
        part = {key: tensors[key] for key in names[i::count]}
        write_file(folder / name, part)
        weight_map |= dict.fromkeys(part, name)
    path = folder / (index or f"{stem}.{suffix}.index{middle}.json")
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return path


def write_config(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    """Digests of both networks, converted from one file."""
    folder = tmp_path_factory.mktemp("whole")
    write_config(folder / "vae")
    save_file(STATE, folder / "g.safetensors")
    save_file(VAE, folder / "vae" / f"{STEM}.safetensors")
    return {
        "dcgan": convert(folder / "g.safetensors", folder / "a").digest,
        "vae": convert(folder / "vae", folder / "b").digest,
    }


SHARDS = {  # what the programs write, and what may be given
    "two": {"count": 2},
    "one": {"count": 1},
    "a tensor each": {"count": len(STATE)},
    "variant": {"count": 2, "variant": "fp16"},
    "variant in the index's first part": {
        "count": 2, "variant": "fp16", "index": "model.fp16.safetensors.index.json",
    },
}  # fmt: skip


@pytest.mark.parametrize("case", SHARDS)
@pytest.mark.parametrize("give_index", [False, True])
def test_shards_of_a_generator(case, give_index, tmp_path, digests):
    index = write_shards(tmp_path / "source", STATE, **SHARDS[case])
    made = convert(index if give_index else tmp_path / "source", tmp_path / "out")
    assert made.digest == digests["dcgan"]
    if SHARDS[case]["count"] > 1:
        assert len(made.card["source"]["files"]) == SHARDS[case]["count"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_of_an_autoencoder(count, tmp_path, digests):
    write_shards(tmp_path / "vae", VAE, count, stem=STEM)
    write_config(tmp_path / "vae")
    assert convert(tmp_path / "vae", tmp_path / "out").digest == digests["vae"]


def test_shards_that_are_pickles(tmp_path, digests):
    write_shards(tmp_path / "vae", VAE, 3, stem=STEM, suffix="bin")
    write_config(tmp_path / "vae")
    assert convert(tmp_path / "vae", tmp_path / "out").digest == digests["vae"]


def test_one_file_comes_before_shards_and_safetensors_before_pickles(tmp_path, digests):
    other = {name: 2 * array for name, array in VAE.items()}
    write_shards(tmp_path / "vae", other, 2, stem=STEM, suffix="bin")
    write_shards(tmp_path / "vae", other, 2, stem=STEM, variant="ema")
    write_file(tmp_path / "vae" / f"{STEM}.bin", other)
    write_file(tmp_path / "vae" / f"{STEM}.fp16.safetensors", other)
    write_file(tmp_path / "vae" / f"{STEM}.safetensors", VAE)
    write_config(tmp_path / "vae")
    assert convert(tmp_path / "vae", tmp_path / "out").digest == digests["vae"]


def edited(change):
    """A change of the index's weight_map."""

    def edit(folder):
        path = folder / "model.safetensors.index.json"
        data = json.loads(path.read_text())
        change(data["weight_map"])
        path.write_text(json.dumps(data))

    return edit


def rename(name):
    return edited(lambda entries: entries.update({"main.0.weight": name}))


def link_shard(target):
    def link(folder):
        shard = folder / "model-00001-of-00002.safetensors"
        shard.unlink()
        shard.symlink_to(target)

    return link


def pipe(folder):
    (folder / "model-00001-of-00002.safetensors").unlink()
    os.mkfifo(folder / "model-00001-of-00002.safetensors")


def twice(folder):
    path = folder / "model.safetensors.index.json"
    path.write_text(path.read_text().replace('"main.1.weight":', '"main.0.weight":'))


def write_index(text):
    return lambda folder: (folder / "model.safetensors.index.json").write_text(text)


FAULTS = {
    "a shard is missing": (
        lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "which is not there"
    ),
    "a shard more": (
        lambda f: write_file(f / "model-00003-of-00003.safetensors", STATE),
        "a shard that .* does not name",
    ),
    "a shard of another checkpoint": (
        lambda f: write_file(f / "model-00002-of-00002.safetensors", {"x": STATE["main.0.weight"]}),
        "is in no shard",
    ),
    "one shard is the other": (
        lambda f: (f / "model-00002-of-00002.safetensors").write_bytes(
            (f / "model-00001-of-00002.safetensors").read_bytes()
        ),
        "lies in another shard",
    ),
    "a shard without its tensors": (
        edited(lambda entries: entries.update(x="model-00001-of-00002.safetensors")), "lacks \"x\""
    ),
    "a tensor that the index lacks": (
        edited(lambda entries: entries.pop("main.0.weight")), "is in no shard"
    ),
    "a tensor twice": (twice, "stands twice"),
    "above the folder": (rename("../model-00001-of-00002.safetensors"), "a shard beside the index"),
    "below the folder": (rename("a/model-00001-of-00002.safetensors"), "a shard beside the index"),
    "an absolute path": (rename("/etc/passwd"), "a shard beside the index"),
    "a Windows path": (rename("C:\\model.safetensors"), "a shard beside the index"),
    "an address": (rename("https://a/b.safetensors"), "a shard beside the index"),
    "the folder itself": (rename(".."), "a shard beside the index"),
    "control characters": (rename("a\n\x1b[31m.safetensors"), "a shard beside the index"),
    "a null character": (rename("a\0.safetensors"), "a shard beside the index"),
    "no text": (rename(3), "a shard beside the index"),
    "a link elsewhere": (link_shard("/etc/passwd"), "is a link, a pipe or a folder"),
    "a link to a device": (link_shard("/dev/zero"), "is a link, a pipe or a folder"),
    "a link to nothing": (link_shard("nothing"), "is a link, a pipe or a folder"),
    "a link to itself": (
        link_shard("model-00001-of-00002.safetensors"), "is a link, a pipe or a folder"
    ),
    "a pipe": (pipe, "is a link, a pipe or a folder"),
    "too many bytes": (
        lambda f: os.truncate(f / "model-00001-of-00002.safetensors", 1 << 40),
        "at most .* are read",
    ),
    "no index": (lambda f: (f / "model.safetensors.index.json").unlink(), "without the index"),
    "index is no JSON": (write_index("{"), "not JSON"),
    "index is a list": (write_index("[]"), "has no weight_map"),
    "index of nothing": (write_index('{"weight_map": {}}'), "has no weight_map"),
    "index without a map": (write_index('{"weight_map": []}'), "has no weight_map"),
    "index nested": (write_index('{"weight_map": ' + "[" * 999 + "]" * 999 + "}"), "nested too"),
    "index of a megabyte": (
        write_index('{"weight_map": {"' + "a" * (1 << 20) + '": "b"}}'), "larger than 1048576 bytes"
    ),
    "index of many": (
        write_index(json.dumps({"weight_map": {f"t{i}": f"{i}.bin" for i in range(4_999)}})),
        "4999 shards; at most 1000",
    ),
    "index of too many": (
        write_index(json.dumps({"weight_map": {f"t{i}": "a.bin" for i in range(30_000)}})),
        "more than 20000 values",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_shards_are_refused_in_one_line(case, tmp_path):
    spoil, words = FAULTS[case]
    write_shards(tmp_path / "source", STATE, 2)
    spoil(tmp_path / "source")
    with pytest.raises((ConversionError, CheckpointError), match=words) as caught:
        convert(tmp_path / "source", tmp_path / "out")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "out").exists()


def test_the_only_shard_needs_no_index(tmp_path, digests):
    write_shards(tmp_path / "source", STATE, 1).unlink()
    assert convert(tmp_path / "source", tmp_path / "out").digest == digests["dcgan"]


def test_one_shard_alone_says_so(tmp_path):
    write_shards(tmp_path, STATE, 2)
    with pytest.raises(
        ConversionError, match="is one shard of a checkpoint, by its name; give their folder"
    ):
        convert(tmp_path / "model-00002-of-00002.safetensors", tmp_path / "out")


@pytest.mark.parametrize(
    ("variant", "suffix"),
    [("fp16", "safetensors"), ("bf16", "bin"), ("non_ema", "safetensors"), ("fp8-e4m3", "bin")],
)
def test_the_one_variant_is_taken_and_said(variant, suffix, tmp_path, digests):
    write_config(tmp_path / "vae")
    write_file(tmp_path / "vae" / f"{STEM}.{variant}.{suffix}", VAE)
    made = convert(tmp_path / "vae", tmp_path / "out")
    assert made.digest == digests["vae"]
    assert f'the variant "{variant}"' in made.card["source"]["notes"][0]


def test_a_variant_in_shards(tmp_path, digests):
    write_config(tmp_path / "vae")
    write_shards(tmp_path / "vae", VAE, 2, stem=STEM, variant="fp16")
    assert convert(tmp_path / "vae", tmp_path / "out").digest == digests["vae"]


def test_of_two_variants_one_has_to_be_given(tmp_path, digests):
    write_config(tmp_path / "vae")
    for variant in ("fp16", "ema"):
        write_file(tmp_path / "vae" / f"{STEM}.{variant}.safetensors", VAE)
    with pytest.raises(ConversionError, match="2 variants and none without; give the file of one"):
        convert(tmp_path / "vae", tmp_path / "out")
    # its configuration lies beside it
    made = convert(tmp_path / "vae" / f"{STEM}.fp16.safetensors", tmp_path / "out")
    assert made.digest == digests["vae"]


@pytest.mark.parametrize("give", ["", "model_index.json"])
def test_a_pipeline_leads_to_its_autoencoder(give, tmp_path, digests):
    root = tmp_path / "pipeline"
    write_config(root / "vae")
    write_file(root / "vae" / f"{STEM}.fp16.safetensors", VAE)
    (root / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    write_file(root / "v1-5.safetensors", STATE)
    made = convert(root / give, tmp_path / "out")
    assert made.digest == digests["vae"]
    assert "taken is its vae/" in made.card["source"]["notes"][0]
    assert len(made.card["source"]["notes"]) == 2


def test_a_pipeline_without_its_autoencoder(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ConversionError, match=r"root folder of a pipeline .* has no vae/"):
        convert(tmp_path, tmp_path / "out")


def test_a_folder_of_one_file(tmp_path, digests):
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("README.md", ".gitattributes", "config.json", ".DS_Store", "._g.safetensors"):
        (folder / name).write_text("{}")
    write_file(folder / "g.safetensors", STATE)
    made = convert(folder, tmp_path / "out")
    assert made.digest == digests["dcgan"]
    assert made.card["source"]["file"] == "g.safetensors"


def in_cache(folder, source):
    """The files of a folder as Hugging Face's cache holds them; return the snapshot."""
    snapshot, blobs = folder / "snapshots" / "abc", folder / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(p for p in source.rglob("*") if p.is_file())):
        link = snapshot / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        (blobs / str(number)).write_bytes(path.read_bytes())
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    return snapshot


def test_hugging_faces_cache(tmp_path, digests):
    write_shards(tmp_path / "pipeline" / "vae", VAE, 2, stem=STEM)
    write_config(tmp_path / "pipeline" / "vae")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    snapshot = in_cache(tmp_path / "models--a--b", tmp_path / "pipeline")
    assert convert(snapshot, tmp_path / "out").digest == digests["vae"]
    with pytest.raises(ConversionError, match="snapshots/REVISION"):
        convert(tmp_path / "models--a--b", tmp_path / "other")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "it has none"),
        (["a.pt", "b.pt", "c.pt"], 'it has "a.pt", "b.pt", "c.pt"'),
        (["card.json", "params"], "wrote: use it as it is"),
        (["saved_model.pb"], "SavedModel of TensorFlow"),
        (["data.pkl", "constants.pkl"], "unpacked TorchScript"),
        ([f"{STEM}.safetensors"], "is a folder without config.json, which says what"),
    ],
)
def test_other_folders_say_what_they_are(names, words, tmp_path):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConversionError, match=words):
        read_weights(tmp_path)


def test_folders_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_folder, "MAX_FOLDER_ENTRIES", 3)
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"")
    with pytest.raises(ConversionError, match="more than 3 files"):
        read_weights(tmp_path)
