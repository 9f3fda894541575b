import hashlib
import json
import shutil

import numpy as np
import pytest
from result_edits import change_json, change_latents, differs
from tiny_generator import tiny_card_data, tiny_weights

from jattr.cli.main import main
from jattr.images import write_png

UNVERIFIED = 4  # the exit code where nothing differs, and not all could be verified


def save_changed(folder, *, seed=0, slope=0.2):
    from jattr.converters.layered import convert_layered

    from jattr.generators.card import parse_card
    from jattr.generators.store import save_generator

    data = tiny_card_data()
    next(layer for layer in data["layers"] if layer["op"] == "leaky_relu")["slope"] = slope
    card = parse_card(data)
    save_generator(folder, card, convert_layered(card, tiny_weights(seed=seed)))
    return str(folder)


def test_an_untouched_result_holds(result, verify):
    code, text, errors = verify(result / "result")
    assert code == UNVERIFIED  # the other image's verdict rests on a search
    assert errors.count("\n") == 1
    assert "made by tiny" in text
    assert "1 certificates of 1 images hold; 1 images have none" in text


def test_json_states_every_figure(result, verify):
    code, text, _ = verify(result / "result", "--json", candidates=("tiny",))
    data = json.loads(text)
    assert code == UNVERIFIED
    assert not data["verified"]
    assert data["differences"] == []
    assert data["certificates"][0]["candidate"] == "tiny"
    assert data["certificates"][0]["holds"]


def test_images_are_found_by_their_digest_wherever_they_are(result, verify, tmp_path):
    shutil.move(result / "tiny.png", tmp_path / "elsewhere.png")
    code, _, errors = verify(result / "result")
    assert code == 2
    assert "--pictures" in errors
    assert errors.count("\n") == 1
    code, text, _ = verify(result / "result", "--pictures", str(tmp_path / "elsewhere.png"))
    assert code == UNVERIFIED
    assert "elsewhere.png: certificate holds" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [({"seed": 5}, "its weights are not"), ({"slope": 0.21}, "its card's settings")],
)
def test_a_changed_candidate_is_found(result, verify, tmp_path, change, words):
    folder = save_changed(tmp_path / "changed", **change)
    differs(verify(result / "result", candidates=(folder, "tiny_b")), words)


@pytest.mark.parametrize("what", ["weights", "card"])
def test_a_candidate_changed_behind_its_own_digests_is_found(
    result, verify, tmp_path, tiny_folders, what
):
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_folders["tiny"], folder)
    if what == "weights":
        other = save_changed(tmp_path / "other", seed=5)
        shutil.rmtree(folder / "params")
        shutil.copytree(f"{other}/params", folder / "params")
    else:
        text = (folder / "card.json").read_text()
        assert "0.2\n" in text or "0.2" in text
        (folder / "card.json").write_text(text.replace("0.2", "0.21", 1))
    differs(
        verify(result / "result", candidates=(str(folder), "tiny_b")), "is not as it was written"
    )


@pytest.mark.parametrize("given", [True, False])
def test_a_changed_image_is_found(result, verify, given):
    path = result / "tiny.png"
    pixels = np.zeros((8, 8, 3), np.uint8)
    write_png(path, pixels)
    options = ["--pictures", str(path)] if given else []
    differs(verify(result / "result", *options), "SHA-256")


def test_a_changed_image_whose_new_digest_is_stated_is_found_by_the_test(result, verify):
    write_png(result / "tiny.png", np.full((8, 8, 3), 90, np.uint8))
    digest = hashlib.sha256((result / "tiny.png").read_bytes()).hexdigest()
    change_json(result, lambda data: data["pictures"][0].update(sha256=digest))
    differs(verify(result / "result"), "the certificate does not hold")


def test_any_changed_latent_is_found(result, verify):
    def nudge(arrays):
        arrays["z"][0, 0, 0] = np.nextafter(arrays["z"][0, 0, 0], np.float32(9))

    change_latents(result, nudge)
    differs(verify(result / "result"), "latents.npz: its SHA-256")


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.3, "the certificate does not hold"), (np.nan, "not finite"), (1e30, "does not hold")],
)
def test_a_changed_latent_whose_new_digest_is_stated_is_found_by_the_test(
    result, verify, value, words
):
    def change(arrays):
        arrays["z"][0, 0, 0] += np.float32(value)

    change_latents(result, change, keep_digest=True)
    differs(verify(result / "result"), words)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("statistic", 1.0),
        ("p_value", 0.5001),
        ("identical_bytes", 0.5),
        ("excess", 60),
        ("rank", 2),
    ],
)
def test_figures_that_do_not_come_out_again_are_found(result, verify, field, value):
    def change(data):
        row = data["pictures"][0]
        value_ = row["certificate"][field] - 0.25 if field == "p_value" else value
        row["certificate"][field] = abs(value_)
        row["certificates"]["tiny"] = row["certificate"]

    change_json(result, change)
    differs(verify(result / "result"), field)


def test_a_changed_residual_is_found(result, verify):
    change_json(result, lambda data: data["pictures"][0]["residual"].update(tiny=1e-7))
    differs(verify(result / "result"), "the residual is")


def test_a_verdict_that_its_certificates_do_not_support_is_found(result, verify):
    change_json(
        result, lambda data: data["pictures"][0].update(candidate="tiny_b", candidates=["tiny_b"])
    )
    differs(verify(result / "result"), "contradict")


def test_a_result_without_certificates_is_no_success(original, verify, tiny_folders, tmp_path):
    options = ["--restarts", "1", "--lanes", "2", "--out", str(tmp_path / "result")]
    image, path = str(original / "noise.png"), str(tiny_folders["tiny"])
    assert main(["attribute", image, "--candidates", path, *options]) == 0
    code, text, errors = verify(tmp_path / "result", candidates=("tiny",))
    assert code == UNVERIFIED
    assert "needs a search" in errors
    assert "0 certificates of 0 images" in text
    assert verify(tmp_path / "result", "--search", candidates=("tiny",))[0] == 0


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        (("tiny_b",), "certificates name 'tiny'"),
        (("tiny", "tiny_c"), "no candidate of the result"),
        (("none",), "no gen"),
    ],
)
def test_candidates_that_do_not_fit_the_result(result, verify, candidates, words):
    code, _, errors = verify(result / "result", candidates=candidates)
    assert code == 2
    assert words in errors
    assert errors.count("\n") == 1


def test_a_folder_that_is_no_result(verify, tmp_path):
    code, _, errors = verify(tmp_path)
    assert code == 2
    assert "result.json" in errors
    code, _, errors = verify(tmp_path / "missing")
    assert code == 2
    assert "is no folder" in errors


def test_a_certificate_holds_without_the_distance_that_was_searched_by(result, verify):
    gone = {"distance": "features/gone"}
    change_json(result, lambda data: data["settings"]["inversion"].update(gone))
    code, out, _ = verify(result / "result", "--json")
    found = json.loads(out)
    assert code == UNVERIFIED
    assert found["differences"] == []
    assert found["outcomes"][0]["outcome"] == "certificate holds"
    assert "features/gone" in found["unchecked"][0]
    _, out, _ = verify(result / "result")
    assert "not checked: the residuals by 'features/gone'" in out
