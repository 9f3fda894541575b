"""Every edit of `result.json` that changes what it says is found, or printed as not checked."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from result_edits import change_json, change_latents, differs
from tiny_generator import make_tiny

from jattr.cli.main import main
from jattr.images import to_byte, write_png

UNVERIFIED = 4  # the exit code where nothing differs, and not all could be verified


def row_of(data, number=0):
    return data["pictures"][number]


def certify(row, name="tiny", **figures):
    """Change figures of a certificate in both places."""
    row["certificate"] = row["certificates"][name] = row["certificate"] | figures


def update(**fields):
    return lambda data: row_of(data).update(fields)


def figures(**values):
    return lambda data: certify(row_of(data), **values)


def within(field, **values):
    return lambda data: row_of(data)[field].update(values)


def candidate(**fields):
    return lambda data: data["candidates"][0].update(fields)


def unnamed_image(data):
    certify(row_of(data), bit_exact=True, identical_bytes=1.0, p_value=1.0, largest_deviation=0.5)
    row_of(data).update(sha256=None, file="another.png")


def denied_certificate(data):
    row = row_of(data)
    moved = row["certificate"] | {"holds": False}
    row.update(certificate=moved, candidate="tiny_b", candidates=["tiny_b"])
    row["certificates"] = {"tiny": None, "tiny_b": moved}


def dropped_certificate(data):
    row_of(data).update(verdict="undecided", candidate=None, candidates=[], certificate=None)
    row_of(data)["certificates"] = {"tiny": None, "tiny_b": None}


def hidden_search(data):
    row = row_of(data)
    row["residual"]["tiny_b"] = row["certificates"]["tiny_b"] = None
    row["margin"] = None


def accused_other(data):
    row_of(data, 1).update(verdict="made-by", candidate="tiny_b", candidates=["tiny_b"])


def renamed(data):
    """Everything that is said of `tiny` is said of `famous`."""
    text = json.dumps(data).replace('"tiny"', '"famous"')
    data.clear()
    data.update(json.loads(text))


EDITS = {
    "no SHA-256 is stated": unnamed_image,
    "1 certificates are stated, 0 could be checked": update(sha256=None),
    "contradict each other": update(candidates=["tiny_b"]),
    "states made by tiny or tiny_b, its evidence gives made by tiny": update(
        candidates=["tiny", "tiny_b"]
    ),
    "states undecided, its evidence gives made by tiny": update(
        verdict="undecided", candidates=[], candidate=None
    ),
    "verdict and certificates in result.json contradict": denied_certificate,
    "holds is True, result.json states False": figures(holds=False),
    "a certificate holds that result.json does not state": dropped_certificate,
    "latents.npz has a latent": hidden_search,
    "states made by tiny_b, its evidence gives undecided": accused_other,
    "states none, its evidence gives undecided": lambda data: row_of(data, 1).update(
        verdict="none"
    ),
    "largest_deviation is": figures(largest_deviation=0.3),
    "alpha is 1e-06": figures(alpha=0.5),
    "expected is": figures(expected=9.0),
    "alteration is ''": figures(alteration="jpeg:75:4:2:0"),
    "the certificate's alteration is not": figures(alteration="jpeg:90:4:2:0"),
    "bit_exact, which the share": figures(bit_exact=True, identical_bytes=0.9999),
    "the margin is": update(margin=1e9),
    "support: the largest |z| is": within("support", tiny={"largest": 0.1, "inside": None}),
    "support: inside is not True": lambda data: row_of(data)["support"]["tiny"].update(inside=True),
    "the class is None, result.json states 7": update(label=7),
    "has class -1, result.json 2": lambda data: row_of(data)["labels"].update(tiny_b=2),
    "candidate 'tiny_b': the residual is": within("residual", tiny_b=9.0),
    "result.json states None": lambda data: row_of(data)["support"].pop("tiny"),
    "the noise is": lambda data: row_of(data)["noise"].update(tiny=1e-4),
    "latent_sha256 is not": within("latent_sha256", tiny_b="0" * 64),
    "prior is normal, result.json states uniform": candidate(prior="uniform"),
    "weights_digest is": candidate(weights_digest="0" * 64),
    "rounding is None, result.json states truncate": candidate(rounding="truncate"),
    "settings is None": candidate(settings={"psi": 1.0, "cutoff": None, "noise": "given"}),
    "is called 'tiny'": renamed,
}


@pytest.mark.slow
@pytest.mark.parametrize("words", EDITS)
def test_an_edit_is_found(result, verify, words):
    change_json(result, EDITS[words])
    differs(verify(result / "result"), words)


def test_bit_exact_is_not_believed_where_a_byte_differs(result, verify):
    def near(arrays):  # still the image up to rounding, but not to the byte
        arrays["z"][0, 0] += np.float32(2e-3)

    change_latents(result, near, keep_digest=True)
    change_json(result, figures(bit_exact=True, identical_bytes=1.0))
    differs(verify(result / "result"), "result.json states bit-exact, which it is not")


def test_what_only_a_search_or_the_writer_can_tell_is_printed_as_not_checked_once(result, verify):
    change_json(result, lambda data: data["candidates"][0].update(path="/elsewhere"))
    code, text, _ = verify(result / "result")
    lines = [line for line in text.splitlines() if line.startswith("not checked: ")]
    assert code == UNVERIFIED
    for field in ("restarts", "searches", "usual_miss", "paths of candidates", "report.html"):
        assert sum(field in line for line in lines) == 1, field


def test_candidates_and_images_that_are_not_there_are_printed_as_not_checked(result, verify):
    (result / "noise.png").unlink()
    code, text, _ = verify(result / "result", candidates=("tiny",))
    assert code == UNVERIFIED
    assert "not checked: what rests on candidate 'tiny_b'" in text
    assert "noise.png', which is not there" in text
    code, text, _ = verify(result / "result", "--pictures", str(result / "tiny.png"))
    assert code == UNVERIFIED
    assert "noise.png', which is not among the given images" in text


def test_an_image_is_named_as_the_file_that_was_read(result, verify):
    change_json(result, update(file="somebody.png"))
    code, text, _ = verify(result / "result", "--pictures", str(result / "tiny.png"))
    assert code == UNVERIFIED
    assert f"{result / 'tiny.png'}"[-20:] in text
    assert "somebody" not in text


def test_two_names_of_one_model_are_verified_as_one_class(original, verify, tiny_folders, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(tiny_folders["tiny"], twin)
    (twin / "card.json").write_text((twin / "card.json").read_text().replace('"tiny"', '"twin"'))
    candidates = [str(tiny_folders["tiny_b"]), str(twin), str(tiny_folders["tiny"])]
    options = ["--restarts", "1", "--lanes", "2", "--out", str(tmp_path / "result")]
    assert (
        main(["attribute", str(original / "tiny.png"), "--candidates", *candidates, *options]) == 0
    )
    code, text, _ = verify(tmp_path / "result", candidates=candidates)
    assert code == 0
    assert "2 certificates of 1 images hold" in text
    differs(
        verify(tmp_path / "result", candidates=(candidates[0], candidates[2])), "is called 'tiny'"
    )
    change_json(tmp_path, lambda data: row_of(data)["candidates"].reverse())
    differs(verify(tmp_path / "result", candidates=candidates), "contradict")


@pytest.fixture(scope="module")
def others(tmp_path_factory, tiny_folders):
    """Results of an image with a class, and of a JPEG file."""
    folder = tmp_path_factory.mktemp("others")
    z = np.random.default_rng(8).normal(size=(1, 6)).astype(np.float32)
    gen = make_tiny(name="tiny_conditional", num_classes=3)
    write_png(folder / "class.png", to_byte(gen.generate(z, label=np.array([1])))[0])
    pixels = to_byte(make_tiny().generate(z))[0]
    Image.fromarray(np.asarray(pixels)).save(folder / "picture.jpg", quality=95, subsampling=0)
    for name, image in (("tiny_conditional", "class.png"), ("tiny", "picture.jpg")):
        options = [
            "--restarts",
            "4",
            "--lanes",
            "4",
            "--out",
            str(folder / image.split(".")[0] / "result"),
        ]
        assert (
            main(
                [
                    "attribute",
                    str(folder / image),
                    "--candidates",
                    str(tiny_folders[name]),
                    *options,
                ]
            )
            == 0
        )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "name", "edit", "words"),
    [
        (
            "class",
            "tiny_conditional",
            lambda row: row.update(label=2),
            "the class is 1, result.json states 2",
        ),
        (
            "class",
            "tiny_conditional",
            lambda row: row["labels"].update(tiny_conditional=2),
            "has class 1",
        ),
        ("picture", "tiny", lambda row: certify(row, alteration=""), "alteration is 'jpeg:95"),
        ("picture", "tiny", lambda row: certify(row, expected=1.0), "expected is"),
        (
            "picture",
            "tiny",
            lambda row: row.update(alteration=None),
            "the certificate does not hold",
        ),
    ],
)
def test_edits_of_classes_and_alterations_are_found(
    others, verify, tmp_path, which, name, edit, words
):
    folder = tmp_path / which
    shutil.copytree(others / which, folder)
    assert verify(folder / "result", candidates=(name,))[0] == 0
    change_json(folder, lambda data: edit(row_of(data)))
    differs(verify(folder / "result", candidates=(name,)), words)
