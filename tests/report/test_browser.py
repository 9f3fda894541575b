"""The report in a real browser, where one is installed.

Screenshots at two widths, a console without errors.
"""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from test_html import HOSTILE, data_of, failed_row, row_of

from jattr.report.html import report_page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    names = ("one", HOSTILE, "three")
    path.write_text(
        report_page(data_of(*names), [row_of(names=names), failed_row(HOSTILE, names)], "jattr"),
        "utf-8",
    )
    return path


def run_browser(page, tmp_path, *options):
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--v=0",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=3000",
        *options,
        f"file://{page}",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_drawn_without_errors(page, tmp_path, width):
    shot = tmp_path / "shot.png"
    done = run_browser(page, tmp_path, f"--window-size={width},1600", f"--screenshot={shot}")
    assert "CONSOLE" not in done.stderr
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape[1] == width
    # images and charts, not an empty page
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_nothing_is_wider_than_a_narrow_screen(page, tmp_path):
    """The page itself does not scroll sideways.

    Its script-free text reports the width through the DOM's dump.
    """
    probe = tmp_path / "probe.html"
    text = page.read_text("utf-8")
    text = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    script = (
        "<script>document.title = document.documentElement.scrollWidth + ' ' +"
        " window.innerWidth</script></body>"
    )
    probe.write_text(text.replace("</body>", script), "utf-8")
    done = run_browser(probe, tmp_path, "--window-size=500,1600", "--dump-dom")
    scroll, inner = map(int, done.stdout.partition("<title>")[2].partition("</title>")[0].split())
    assert scroll <= inner
