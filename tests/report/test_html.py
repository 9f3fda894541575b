"""The report: one page of its own, whatever the names are."""

import base64
import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jattr.attribution.attribute import attribute
from jattr.attribution.result_json import failed_record, to_dict
from jattr.inversion.config import InvertConfig
from jattr.inversion.multistart import Search
from jattr.inversion.scheduler import Status
from jattr.report.contact_sheet import Reproduction, SheetRow
from jattr.report.figures import figure
from jattr.report.html import MAX_DETAILED, ReportRow, report_page
from jattr.report.notebook import attribution_table

HOSTILE = "<script>alert('1')</script>\"'\n\x1b[31m $x_1$ \u202e.png"
DATA = {
    "settings": {
        "inversion": {"restarts": 8, "steps": None},
        "decision": {"winner": 1e-3},
        "device": {"platform": "cpu", "kind": "<b>cpu"},
    },
    "versions": {"jattr": "0"},
    "latents": {"file": "latents.npz", "sha256": "0" * 64},
    "timing_seconds": {"search": 1.0},
}
SEARCHES = (
    Search(0, Status.ARRIVED, ((10.0, 1e-2), (20.0, 5e-6))),
    Search(1, Status.FAILED, ((10.0, np.inf),)),
)


def data_of(*names):
    candidates = [
        {"name": name, "digest": "a" * 64, "space": "z", "settings": None} for name in names
    ]
    return DATA | {"candidates": candidates}


def row_of(file="a.png", names=("one", "two"), *, certificate=True, size=8):
    """A row whose first candidate made the image."""
    rng = np.random.default_rng(0)
    observation = rng.integers(0, 256, (size, size, 3), np.uint8)
    images = [np.asarray(rng.uniform(-1, 1, observation.shape), np.float32) for _ in names]
    proof = {
        "bit_exact": True,
        "identical_bytes": 1.0,
        "rounding": "round",
        "statistic": 190.0,
        "excess": 186,
        "p_value": 0.5,
        "alpha": 1e-6,
        "rank": 6,
        "unclipped": 192,
    }
    residual = {name: 5e-6 * 10.0**number for number, name in enumerate(names)}
    record = failed_record(file, "b" * 64, "because", names) | {
        "verdict": "made-by",
        "candidate": names[0],
        "candidates": [names[0]],
        "residual": residual,
        "margin": 10.0,
        "certificate": proof if certificate else None,
        "latent_sha256": dict.fromkeys(names, "c" * 64),
    }
    made = [
        Reproduction(name, image, residual[name]) for name, image in zip(names, images, strict=True)
    ]
    return ReportRow(
        record,
        SheetRow(file, f"made by {names[0]}", observation, made, names[0]),
        {names[0]: SEARCHES},
    )


def failed_row(file="bad.png", names=("one", "two")):
    record = failed_record(file, None, "it is no image", names)
    return ReportRow(record, SheetRow(file, "failed: it is no image", None, ()))


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_stands_alone():
    page = report_page(
        data_of("one", "two"), [row_of()], "jattr verify result --candidates one two"
    )
    parsed = Page(page)
    assert not re.findall(r"https?://(?!www\.w3\.org)", page)
    assert "script" not in [tag for tag, _ in parsed.tags]
    for tag, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/")
            assert attributes["alt"]
    policy = [a["content"] for tag, a in parsed.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert "jattr verify result --candidates one two" in parsed.text
    assert "c" * 64 in parsed.text
    assert "1 made by a candidate, with certificate" in parsed.text


def test_images_are_the_pixels():
    row = row_of()
    page = report_page(data_of("one", "two"), [row], "")
    images = [
        a for tag, a in Page(page).tags if tag == "img" and a["src"].startswith("data:image/png")
    ]
    assert len(images) == 1 + 2 * 2
    import io

    from PIL import Image

    content = base64.b64decode(images[0]["src"].partition(",")[2])
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(content))), row.sheet.observation
    )


def test_a_calibrated_verdict_shows_its_numbers():
    finding = {
        "name": HOSTILE,
        "denied": True,
        "own_p": 0.0476,
        "own_count": 20,
        "negative_p": 0.25,
        "holm_p": 0.5,
        "negative_kind": "<i>sketches",
        "negative_counts": {"<i>sketches": 39, "photographs": 99},
        "log10_lr": -0.5,
        "log10_lr_most": 1.5,
        "lr_kind": "<i>sketches",
        "probability": 0.125,
        "power": {"miss_bound": 0.0295, "restarts": 8},
    }
    judgement = {
        "findings": [finding],
        "prior": {HOSTILE: 0.5, "none": 0.5},
        "none_probability": 0.875,
        "condition": "clean",
        "alpha": 0.05,
    }
    row = row_of(certificate=False)
    parsed = Page(
        report_page(
            data_of("one", "two"), [ReportRow(row.record | {"judgement": judgement}, row.sheet)], ""
        )
    )
    assert not {"i", "script"} & {tag for tag, _ in parsed.tags}
    ratio = "0.316 (at most 31.6; <i>sketches)"
    for words in ("(denied)", "0.0476 (20 own images)", "0.25 (39, <i>sketches)", ratio):
        assert words in parsed.text
    assert "0.125 (before: 0.5)" in parsed.text
    assert "at most 0.0295, restarts 8" in parsed.text
    assert "0.875 (before: 0.5)" in parsed.text


@pytest.mark.parametrize(
    ("settings", "count"), [({}, 0), ({"calibration": None}, 0), ({"calibration": "e" * 64}, 1)]
)
def test_the_calibration_that_judged_is_named_by_its_digest(settings, count):
    data = data_of("one", "two")
    page = report_page(
        data | {"settings": data["settings"] | settings}, [row_of()], "jattr verify ."
    )
    assert (
        page.count("SHA-256 of the calibration") == page.count(f"<code>{'e' * 64}</code>") == count
    )


def test_hostile_names_are_text():
    names = (HOSTILE, "</title><img src=x onerror=alert(1)>")
    page = report_page(
        data_of(*names), [row_of(HOSTILE, names), failed_row(HOSTILE, names)], "jattr verify '<b>'"
    )
    parsed = Page(page)
    assert "script" not in [tag for tag, _ in parsed.tags]
    assert not [a for tag, a in parsed.tags if tag == "img" and not a["src"].startswith("data:")]
    assert "<script>alert" in parsed.text
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "jattr verify '<b>'" in parsed.text


def test_names_that_are_no_unicode_text_can_be_written():
    report_page(data_of("one", "two"), [row_of("\udcff.png")], "").encode("utf-8")


def test_a_failed_image_has_its_row_and_reason():
    parsed = Page(report_page(data_of("one", "two"), [failed_row(), row_of()], ""))
    assert "failed: it is no image" in parsed.text
    assert "1 failed" in parsed.text
    assert sum(tag == "section" for tag, _ in parsed.tags) == 2  # one image, the candidates


@pytest.mark.slow
def test_many_images_keep_the_page_small():
    row = row_of()
    page = report_page(data_of("one", "two"), [row] * (MAX_DETAILED + 2), "")
    assert "2 images are in the table only" in Page(page).text
    assert page.count('id="picture-') == MAX_DETAILED


@pytest.mark.slow
def test_twelve_images_of_ten_candidates_stay_below_three_megabytes():
    names = tuple(f"generator_{number}" for number in range(10))
    page = report_page(data_of(*names), [row_of(f"{i}.png", names, size=32) for i in range(12)], "")
    assert len(page.encode()) < 3_000_000


def test_a_figure_says_nothing_by_colour_alone_and_knows_no_formulas():
    residuals = {"$\\frac{": 5e-6, "b": None, "c": 0.1}
    runs = {"$\\frac{": SEARCHES, "c": (Search(0, Status.STALLED, ((5.0, 0.1),)),)}
    svg = figure(residuals, runs, "$\\frac{").decode()
    assert svg.lstrip().startswith("<?xml")
    assert "stroke-dasharray" in svg
    assert figure(residuals, runs, "$\\frac{") == figure(residuals, runs, "$\\frac{")


def test_a_figure_without_any_finite_number():
    assert b"<svg" in figure({"a": None}, {"a": (Search(0, Status.FAILED, ()),)}, None)


@pytest.fixture(scope="module")
def att(tiny):
    from jattr.images import to_byte

    pixels = to_byte(np.asarray(tiny.generate(np.full((1, 6), 0.4, np.float32))))
    return attribute(pixels, [tiny], search=InvertConfig(restarts=2, pool=128))


def test_a_notebook_shows_a_table(att):
    import jattr

    assert jattr.Attribution is type(att)
    html = att._repr_html_()
    assert html == attribution_table(att)
    assert "<table>" in html
    assert att.verdicts[0].text in html
    assert "data:image/png" in html or att.verdicts[0].kind != "made-by"


def test_to_dict_is_json(att):
    import json

    found = json.loads(json.dumps(to_dict(att), allow_nan=False))
    assert found["pictures"][0]["residual"]["tiny"] == pytest.approx(float(att.residual[0, 0]))
    assert found["pictures"][0]["searches"]["tiny"][0]["status"] in ("arrived", "stalled", "spent")
    assert found["candidates"][0]["digest"] == att.candidates[0].digest


def test_digests_stand_beside_names_and_certificates_say_what_they_are_worth():
    text = Page(report_page(data_of("one", "two"), [row_of()], "jattr verify r")).text
    assert "one [aaaaaaaa] (made it)" in text
    assert "two [aaaaaaaa]" in text
    assert "proves nothing if these weights are newer than the image" in text
    assert "--search" not in text


def test_of_a_class_nobody_is_said_to_have_made_it():
    row = row_of(names=("one", "two", "three"))
    row.record["candidates"] = ["one", "two"]
    text = Page(report_page(data_of("one", "two", "three"), [row], "")).text
    assert "(made it)" not in text
    assert text.count("(made it, or the other one did)") == 2
    row.record["candidates"] = ["one", "two", "three"]
    text = Page(report_page(data_of("one", "two", "three"), [row], "")).text
    assert text.count("(made it, or one of 2 others did)") == 3


def test_a_verdict_without_certificate_says_what_it_rests_on():
    row = row_of(certificate=False)
    text = Page(report_page(data_of("one", "two"), [row], "jattr verify r")).text
    assert "jattr verify r --search" in text
    assert "(made it, by thresholds)" in text
    data = data_of("one", "two")
    data["settings"] = data["settings"] | {"calibration": "b" * 64}
    text = Page(report_page(data, [row], "jattr verify r")).text
    assert "jattr verify r --calibration FILE --search" in text


def test_images_that_were_not_kept_are_counted_as_left_out():
    kept, full = row_of(), row_of("late.png")
    left_out = dataclasses.replace(full.sheet, observation=None, left_out=True)
    text = Page(
        report_page(data_of("one", "two"), [kept, ReportRow(full.record, left_out)], "")
    ).text
    assert "1 images are in the table only" in text
