import copy
import json
import os

import numpy as np
import pytest

from jattr.attribution.result_json import failed_record, parse_result
from jattr.errors import InputError
from jattr.verification.result_folder import file_sha256, read_result, write_latents, write_result

DIGEST = "0" * 64


def example(num_images=2, latent_shapes=((6,), (6,))):
    names = ["a", "b"]
    candidates = [
        {
            "name": name,
            "digest": DIGEST,
            "weights_digest": DIGEST,
            "path": name,
            "image_shape": [8, 8, 3],
            "latent_shape": list(shape),
            "prior": "normal",
            "num_classes": 0,
            "rounding": None,
        }
        for name, shape in zip(names, latent_shapes, strict=True)
    ]
    settings = {
        "resize": False,
        "space": "z",
        "inversion": {},
        "decision": {},
        "device": {"platform": "cpu", "kind": "c"},
    }
    return {
        "schema": 1,
        "settings": settings,
        "versions": {"jattr": "0"},
        "candidates": candidates,
        "latents": {"file": "latents.npz", "sha256": DIGEST},
        "pictures": [
            failed_record(f"{i}\udcff\n.png", None, "reason", names) for i in range(num_images)
        ],
        "timing_seconds": {"search": 1.0},
    }


def save(folder, data):
    z = [
        np.ones((len(data["pictures"]), *c["latent_shape"]), np.float32) for c in data["candidates"]
    ]
    label = np.full((len(data["pictures"]), 2), -1)
    data["latents"]["sha256"] = write_latents(
        folder / "latents.npz", z, label, label > 0, [DIGEST, DIGEST], "z"
    )
    write_result(folder / "result.json", data)


@pytest.mark.parametrize(
    ("shapes", "names"), [(((6,), (6,)), {"z"}), (((6,), (4,)), {"z_0", "z_1"})]
)
def test_what_is_written_is_read_again(tmp_path, shapes, names):
    data = example(latent_shapes=shapes)
    save(tmp_path, data)
    saved = read_result(tmp_path)
    assert saved.data == data
    assert saved.latents_sha256 == data["latents"]["sha256"]
    assert [z.shape for z in saved.z] == [(2, *shape) for shape in shapes]
    assert saved.label.dtype == np.int32
    assert (saved.label == -1).all()
    assert saved.digests == (DIGEST, DIGEST)
    with np.load(tmp_path / "latents.npz", allow_pickle=False) as arrays:
        assert set(arrays) == names | {"label", "found", "digest", "space"}
        assert str(arrays["space"]) == "z"


def test_latents_have_the_same_bytes_every_time(tmp_path):
    arrays = [np.ones((1, 3), np.float32)], np.zeros((1, 1)), np.ones((1, 1), bool), [DIGEST], "z"
    assert write_latents(tmp_path / "a", *arrays) == write_latents(tmp_path / "b", *arrays)


def change(path, value):
    def apply(data):
        *parents, last = path
        for parent in parents:
            data = data[parent]
        if value is KeyError:
            del data[last]
        else:
            data[last] = value

    return apply


ROW = ("pictures", 0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("schema",), KeyError),
        (("candidates",), []),
        (("candidates",), {}),
        (("pictures",), None),
        (("candidates", 0, "digest"), "12"),
        (("candidates", 0, "latent_shape"), [0]),
        (("candidates", 0, "name"), 3),
        (("candidates", 1, "name"), "a"),
        (("latents", "file"), "/etc/passwd"),
        (("latents",), KeyError),
        ((*ROW, "verdict"), "perhaps"),
        ((*ROW, "candidate"), "c"),
        ((*ROW, "candidates"), ["c"]),
        ((*ROW, "residual"), {"a": 1.0}),
        ((*ROW, "residual", "a"), "1"),
        ((*ROW, "residual", "a"), -1.0),
        ((*ROW, "certificate"), {"holds": True}),
        ((*ROW, "certificates", "a"), {}),
        ((*ROW, "labels", "a"), -1),
        ((*ROW, "restarts", "a", "run"), 1.5),
        ((*ROW, "sha256"), "x"),
        ((*ROW, "file"), KeyError),
        (("settings", "resize"), "yes"),
        (("settings", "calibration"), "C" * 64),
        (("settings", "calibration"), ""),
        (("timing_seconds",), {"search": -1}),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_one_clear_error(path, value):
    data = copy.deepcopy(example())
    change(path, value)(data)
    with pytest.raises(InputError) as caught:
        parse_result(json.dumps(data))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '{"schema": NaN}',
        '{"schema": 1e999}',
        "[" * 100_000,
        '{"a": ' * 5000,
        "9" * 9999,
    ],
)
def test_text_that_is_no_result_is_refused(text):
    with pytest.raises(InputError):
        parse_result(text)


def test_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_result(tmp_path / "r.json", example() | {"margin": float("nan")})


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("z", np.ones((2, 2, 5), np.float32), "has z float32 [2, 2, 5]"),
        ("z", np.ones((2, 2, 6)), "has z float64"),
        ("label", np.ones((2,), np.int32), "has label"),
        ("digest", np.array(["x"]), "has digest"),
    ],
)
def test_latents_that_do_not_fit_the_result_are_refused(tmp_path, name, array, words):
    save(tmp_path, example())
    with np.load(tmp_path / "latents.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "latents.npz", **arrays | {name: array})
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        read_result(tmp_path)


def test_damaged_and_hostile_latents_are_refused(tmp_path):
    save(tmp_path, example())
    path = tmp_path / "latents.npz"
    whole = path.read_bytes()
    objects = np.array([{}], object)
    for write in (
        lambda: path.write_bytes(whole[:-50]),
        lambda: path.write_bytes(b"no zip"),
        lambda: np.savez(path, z=objects),
        path.unlink,
    ):
        write()
        with pytest.raises(InputError, match=r"latents\.npz"):
            read_result(tmp_path)


def test_latents_that_claim_too_much_are_refused_before_they_are_read(tmp_path, monkeypatch):
    save(tmp_path, example())
    monkeypatch.setattr("jattr.verification.npz.MAX_NPZ_BYTES", 100)
    with pytest.raises(InputError, match="at most"):
        read_result(tmp_path)


def test_files_that_are_no_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "result.json")
    for path in (tmp_path / "result.json", tmp_path, tmp_path / "missing", "a\0b"):
        with pytest.raises(InputError):
            file_sha256(path)
    with pytest.raises(InputError):
        read_result(tmp_path)
