"""What `jattr verify` says of each image, and what no forger gets past it."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from result_edits import change_json, change_latents, differs
from tiny_generator import make_tiny

import jattr
from jattr.cli.main import main
from jattr.images import load_image, to_byte, write_png
from jattr.inversion.observation.base import Observation
from jattr.verification.report import HOLDS, RECOMPUTED, UNVERIFIED

UNVERIFIED_CODE = 4
PAIR = ("tiny", "tiny_b")


@pytest.fixture
def outcomes(verify):
    """Run the subcommand: its exit code, and every image's outcome."""

    def run(folder, *options, **given):
        code, text, errors = verify(folder / "result", "--json", *options, **given)
        said = [line for line in errors.splitlines() if " searches of " not in line]  # progress
        assert len(said) == (code != 0)
        data = json.loads(text)
        assert data["verified"] == (code == 0)
        return code, data["outcomes"], data

    return run


def first(data):
    return data["pictures"][0]


def test_every_image_has_an_outcome(result, outcomes, verify):
    code, (own, other), data = outcomes(result)
    assert code == UNVERIFIED_CODE
    assert (own["outcome"], own["needs"]) == (HOLDS, [])
    assert own["verdict"].startswith("made by tiny [")
    assert "8-bit rounding" in own["reason"]
    assert (other["outcome"], other["needs"]) == (UNVERIFIED, ["a search"])
    assert any("NOT verified: needs a search" in line for line in data["unverified"])
    code, text, errors = verify(result / "result")
    assert code == UNVERIFIED_CODE
    assert errors.startswith("jattr: not verified: 1 of 2 images")
    assert "tiny.png: certificate holds: made by tiny [" in text
    assert "noise.png: NOT verified: needs a search: result.json states undecided" in text


def test_the_search_is_repeated(result, outcomes, verify):
    code, (own, other), _ = outcomes(result, "--search")
    assert code == 0
    assert (own["outcome"], other["outcome"]) == (HOLDS, RECOMPUTED)
    assert other["reason"]
    assert "noise.png: verdict recomputed: undecided: " in verify(result / "result", "--search")[1]


def test_certificates_alone_are_verified_at_once(original, tiny_folders, outcomes, tmp_path):
    options = ["--restarts", "1", "--lanes", "2", "--out", str(tmp_path / "result")]
    paths = [str(tiny_folders[name]) for name in PAIR]
    assert main(["attribute", str(original / "tiny.png"), "--candidates", *paths, *options]) == 0
    code, (own,), data = outcomes(tmp_path)
    assert (code, own["outcome"], data["unverified"]) == (0, HOLDS, [])
    # a candidate that was not given leaves what it states unverified
    code, (own,), data = outcomes(tmp_path, candidates=("tiny",))
    assert (code, own["outcome"]) == (UNVERIFIED_CODE, HOLDS)
    assert any("'tiny_b'" in line for line in data["unverified"])


def forge_none(folder, number=0):
    """Turn an own image to "none", every figure of it consistent with worse latents."""
    rng = np.random.default_rng(1)
    gens = [jattr.load_generator(path) for path in _folders(folder)]
    row = json.loads((folder / "result" / "result.json").read_text())["pictures"][number]
    pixels = load_image(row["file"]).pixels[None]
    found = []

    def change(arrays):
        for column, gen in enumerate(gens):
            z = rng.normal(size=(1, *gen.latent_shape)).astype(np.float32) * 3
            arrays["z"][number, column] = z[0]
            residual = float(Observation(gen, pixels).residuals(z, None)[0])
            found.append((gen.name, z, residual))

    change_latents(folder, change, keep_digest=True)

    def edit(data):
        row = data["pictures"][number]
        row.update(verdict="none", candidate=None, candidates=[], certificate=None)
        for name, z, residual in found:
            row["certificates"][name] = None
            row["residual"][name] = residual
            row["support"][name]["largest"] = float(np.abs(z).max())
            row["latent_sha256"][name] = hashlib.sha256(z.astype("<f4").tobytes()).hexdigest()
            row["restarts"][name] = {"run": 8, "arrived": 0, "failed": 0}
            row["searches"][name] = [
                {"restart": r, "status": "stalled", "evaluations": 100.0, "residual": residual}
                for r in range(8)
            ]
            row["usual_miss"][name], row["restarts_needed"][name] = 1e-5, 1
            row["miss_bound"][name] = 0.01
        low, high = sorted(residual for _, _, residual in found)
        row["margin"] = high / low
        bound = "; so many restarts miss at most 1% of those (95 %, without a model)"
        row["reason"] = f"every candidate ends far above its usual misses on its own images{bound}"

    change_json(folder, edit)


def _folders(folder):
    data = json.loads((folder / "result" / "result.json").read_text())
    return [candidate["path"] for candidate in data["candidates"]]


def test_an_own_image_that_was_turned_to_none_is_not_verified_and_a_search_contradicts(
    result, outcomes, verify
):
    forge_none(result)
    code, (own, _), _ = outcomes(result)
    assert (code, own["outcome"], own["needs"]) == (UNVERIFIED_CODE, UNVERIFIED, ["a search"])
    differs(verify(result / "result", "--search"), "a search by the same seed gives made by tiny")


def judged(data):
    row = data["pictures"][1]
    row["judgement"] = {"kind": "none", "candidates": [], "sentence": "Each is denied."}
    row.update(verdict="none", reason="Each is denied")


def judged_by_a_file(data):
    judged(data)
    data["settings"]["calibration"] = "ab" * 32
    data["pictures"][1]["second_look"] = None  # which a calibration rules out


def looser(data):
    data["settings"]["decision"].update(winner=9.0, ratio=1.0)


def twice_the_restarts(data):
    row = data["pictures"][1]
    for name in PAIR:
        row["restarts"][name]["run"] = 8
        (search,) = row["searches"][name]
        row["searches"][name] = [search | {"restart": r} for r in range(8)]


def other_seed(data):
    data["settings"]["inversion"]["seed"] = 5


FORGERIES = {
    "a judgement is stated of an image that no calibration judged": judged,
    "the threshold winner is": looser,
    "the reason is": lambda data: first(data).update(reason="bit for bit, said by experts"),
    "the notes are: none": lambda data: first(data).update(notes=["seen by a notary"]),
    "by its searches, result.json states": lambda data: first(data)["restarts"]["tiny"].update(
        run=99
    ),
    "which it can": lambda data: first(data).update(
        {
            "verdict": "failed",
            "candidate": None,
            "candidates": [],
            "certificate": None,
            "margin": None,
            "reason": "it is no image",
            "residual": dict.fromkeys(PAIR),
            "certificates": dict.fromkeys(PAIR),
            "restarts": {name: {"run": 0, "arrived": 0, "failed": 0} for name in PAIR},
            "searches": {name: [] for name in PAIR},
            "support": {name: {"largest": None, "inside": None} for name in PAIR},
        }
    ),
    "alpha is 7": lambda data: data["settings"]["decision"].update(alpha=7),
    "state other spaces": lambda data: data["settings"].update(space="w"),
}


@pytest.mark.parametrize("words", FORGERIES)
def test_a_forgery_beside_a_genuine_certificate_is_found(result, verify, words):
    change_json(result, FORGERIES[words])
    differs(verify(result / "result"), words)


def test_swapped_images_are_found(result, verify):
    def swap(data):
        a, b = data["pictures"]
        for field in ("file", "sha256"):
            a[field], b[field] = b[field], a[field]

    change_json(result, swap)
    differs(verify(result / "result"), "the certificate does not hold")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (twice_the_restarts, "by a search with the same seed"),
        (other_seed, "by a search with the same seed"),
        (
            lambda data: data["pictures"][1].update(reason="nobody comes near"),
            "the reason is",
        ),
    ],
)
def test_what_is_said_of_searches_is_found_by_repeating_them(result, verify, edit, words):
    change_json(result, edit)
    assert verify(result / "result")[0] in (3, UNVERIFIED_CODE)
    differs(verify(result / "result", "--search"), words)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (judged_by_a_file, "needs the calibration FILE and a search"),
        (
            lambda data: (looser(data), data["versions"].update(jattr="0.0.1")),
            "the threshold winner is",
        ),
        (
            lambda data: (
                first(data).update(reason="said by experts"),
                data["versions"].update(jattr="0.0.1"),
            ),
            "the reason is",
        ),
        (lambda data: first(data).update(approved="by a notary"), "pictures.approved"),
        (lambda data: data["settings"].update(approved=True), "approved"),
    ],
)
def test_what_nothing_verifies_leaves_the_result_unverified(result, verify, edit, words):
    change_json(result, edit)
    code, text, errors = verify(result / "result")
    assert code == UNVERIFIED_CODE
    assert errors.count("\n") == 1
    assert words in text
    assert "experts" not in text
    assert "notary" not in text


def test_a_stranger_s_settings_take_no_memory(result, verify):
    change_json(result, lambda data: data["settings"]["inversion"].update(pool=1_000_000))
    code, _, errors = verify(result / "result", "--search")
    assert code == 2
    assert "pool 1000000" in errors


@pytest.mark.slow
def test_judgements_are_computed_again_by_the_calibration_s_file(
    tiny_folders, outcomes, verify, tmp_path
):
    paths = [str(tiny_folders[name]) for name in PAIR]
    search = ["--restarts", "4", "--lanes", "4"]
    file = tmp_path / "c.json"
    options = ["--own", "20", "--others", "10", *search, "--out", str(file)]
    assert main(["calibrate", *paths, *options]) == 0
    z = np.random.default_rng(11).normal(size=(2, 6)).astype(np.float32)
    stranger = make_tiny(seed=6, name="stranger")
    for number, pixels in enumerate(to_byte(stranger.generate(z))):
        write_png(tmp_path / f"{number}.png", pixels)
    images = [str(tmp_path / f"{number}.png") for number in range(2)]
    given = ["--calibration", str(file)]
    options = ["--alpha", "0.1", *search, *given, "--out", str(tmp_path / "result")]
    assert main(["attribute", *images, "--candidates", *paths, *options]) == 0
    # without the file; with it; with the search besides
    code, states, _ = outcomes(tmp_path)
    assert code == UNVERIFIED_CODE
    assert {tuple(each["needs"]) for each in states} == {("the calibration FILE", "a search")}
    code, states, _ = outcomes(tmp_path, *given)
    assert code == UNVERIFIED_CODE
    assert {tuple(each["needs"]) for each in states} == {("a search",)}
    code, states, _ = outcomes(tmp_path, *given, "--search")
    assert (code, {each["outcome"] for each in states}) == (0, {RECOMPUTED})
    # another file, an edited judgement, edited scores
    other = tmp_path / "other.json"
    other.write_text(file.read_text() + "\n")
    differs(verify(tmp_path / "result", "--calibration", str(other)), "the calibration given has")

    def nicer(data):
        data["pictures"][0]["judgement"]["findings"][0]["own_p"] = 0.999

    change_json(tmp_path, nicer)
    differs(verify(tmp_path / "result", *given), "the judgement is")
    shutil.rmtree(tmp_path / "result")


@pytest.mark.slow
def test_a_file_that_could_not_be_read_is_recomputed(tiny_folders, original, outcomes, tmp_path):
    shutil.copy(original / "tiny.png", tmp_path / "tiny.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = [str(tiny_folders[name]) for name in PAIR]
    images = [str(tmp_path / name) for name in ("tiny.png", "broken.png")]
    options = ["--restarts", "1", "--lanes", "2", "--out", str(tmp_path / "result")]
    assert main(["attribute", *images, "--candidates", *paths, *options]) == 2
    code, (own, broken), data = outcomes(tmp_path)
    assert (code, own["outcome"], broken["outcome"]) == (0, HOLDS, RECOMPUTED), data
    assert broken["verdict"] == "failed"
