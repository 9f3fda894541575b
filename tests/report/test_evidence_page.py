"""The page of a bundle: one page of its own, whatever the names are, with the figures of the
bundle.
"""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image
from recorded_logs import attribution, owner
from test_browser import BROWSER, run_browser
from test_html import HOSTILE, Page
from tiny_world import DENIED, FOREIGN, LOGGED, file_of, log_uses, made_of

from jattr.ledger.commitments import file_value
from jattr.report.evidence_page import MAX_OUTPUTS_SHOWN, evidence_page

ENDS = {
    "supported-denial": "supported"
                        " denial", "consistent-with-use": "consistent with logged use, entry 5",
    "denial-incomplete": "no denial", "undecided": "undecided",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Evidence of four kinds."""
    with owner(tmp_path_factory.mktemp("page")) as mine:
        log_uses(mine)
        end = mine.publish()
        use = file_of(LOGGED[0])
        yield {
            "supported-denial": made_of(mine, FOREIGN, end, DENIED),
            "consistent-with-use": made_of(mine, use, end, attribution("undecided")),
            "denial-incomplete": made_of(mine, FOREIGN, end, DENIED, level="perceptual"),
            "undecided": made_of(mine, FOREIGN, end, attribution("undecided", restarts=1)),
        }


def page_of(found, **changes):
    bundle = dataclasses.replace(found.bundle, **changes)
    return evidence_page(bundle, found.verdict, "tiny", "jattr evidence verify out --nonce 'a <b>'")


@pytest.mark.parametrize("kind", ENDS)
def test_the_page_stands_alone_and_says_what_the_bundle_says(made, kind):
    found = made[kind]
    page = page_of(found)
    parsed = Page(page)
    assert found.verdict.kind == kind
    assert not re.findall(r"https?://", page)
    assert not {"script", "link"} & {
        tag for tag, attributes in parsed.tags if attributes.get("href") != "data:,"
    }
    for tag, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
            assert attributes["alt"]
    policy = [a["content"] for tag, a in parsed.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    for words in (
        ENDS[kind],
        "entries 0 to 8",
        "example.org/witness",
        found.bundle.digest,
        "verify out --nonce 'a <b>'",
    ):
        assert words in parsed.text
    assert file_value(found.bundle.image).hex() in parsed.text
    assert ("1 restart." if kind == "undecided" else "8 restarts.") in parsed.text
    for weak in found.verdict.weaknesses:
        assert weak in parsed.text
    here = [attributes for tag, attributes in parsed.tags if attributes.get("class") == "here"]
    assert len(here) == (kind in ("supported-denial", "consistent-with-use"))
    assert ("none of the four" in parsed.text) == (not here)


def test_near_outputs_are_beside_the_accused_image(made):
    images = [a for tag, a in Page(page_of(made["consistent-with-use"])).tags if tag == "img"]
    assert [a["alt"][:18] for a in images] == [
        "the image",
        "the image of entry",
        "its difference fro",
    ]
    assert images[0]["src"] == images[1]["src"]
    assert len([a for tag, a in Page(page_of(made["supported-denial"])).tags if tag == "img"]) == 1


def test_hostile_names_are_text(made):
    found = made["supported-denial"]
    said = dataclasses.replace(found.bundle.attribution, reason=HOSTILE, alteration="<i>blur")
    verdict = dataclasses.replace(found.verdict, weaknesses=(HOSTILE,))
    changed = dataclasses.replace(found, verdict=verdict)
    page = page_of(
        changed,
        name=HOSTILE,
        origin="</title><img src=x onerror=alert(1)>",
        nonce=HOSTILE,
        attribution=said,
    )
    parsed = Page(page)
    assert not {"script", "i"} & {tag for tag, _ in parsed.tags}
    assert all(a["src"].startswith("data:") for tag, a in parsed.tags if tag == "img")
    assert parsed.text.count("<script>alert") >= 3
    assert "\x1b" not in page
    assert "\u202e" not in page
    page.encode("utf-8")


def test_the_use_that_the_verdict_names_is_shown_though_its_hash_is_far(made):
    found = made["consistent-with-use"]
    examined = found.bundle.examined | {"near": [], "exact": []}
    assert (
        f"logged output, entry {found.verdict.use}" in Page(page_of(found, examined=examined)).text
    )


def test_many_near_outputs_keep_the_page_small(made):
    found = made["consistent-with-use"]
    entries = list(range(100, 100 + 3 * MAX_OUTPUTS_SHOWN))
    examined = found.bundle.examined | {"near": [[entry, 1] for entry in entries], "exact": []}
    images = dict.fromkeys(entries, file_of(LOGGED[0]))
    page = page_of(found, examined=examined, images=images)
    assert Page(page).text.count("logged output, entry") == MAX_OUTPUTS_SHOWN


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_is_drawn_and_fits_the_screen(made, tmp_path, width):
    page, probe, shot = tmp_path / "page.html", tmp_path / "probe.html", tmp_path / "shot.png"
    text = page_of(made["consistent-with-use"], name="a-very-long-name" * 20 + ".png")
    page.write_text(text, "utf-8")
    done = run_browser(page, tmp_path, f"--window-size={width},1600", f"--screenshot={shot}")
    assert "CONSOLE" not in done.stderr
    assert len(np.unique(np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3), axis=0)) > 50
    script = (
        "<script>document.title = document.documentElement.scrollWidth + ' ' +"
        " window.innerWidth</script></body>"
    )
    policy = "default-src 'none'; script-src 'unsafe-inline'"
    probe.write_text(text.replace("default-src 'none'", policy).replace("</body>", script), "utf-8")
    done = run_browser(probe, tmp_path, f"--window-size={width},1600", "--dump-dom")
    scroll, inner = map(int, done.stdout.partition("<title>")[2].partition("</title>")[0].split())
    assert scroll <= inner
