"""The sheet shows the right pixels, says what it left out, and survives foreign names."""

import numpy as np
import pytest
from PIL import Image

from jattr.errors import ImageError
from jattr.images import to_float
from jattr.report import contact_sheet as module
from jattr.report.contact_sheet import Reproduction, SheetRow, contact_sheet
from jattr.report.lettering import drawable, fitted, font, wrapped

RED = (201, 3, 5)  # a colour that nothing else on the sheet has


def plain(height, width, colour=RED):
    return np.full((height, width, len(colour)), colour, np.uint8)


def row(pixels, *reproductions, **options):
    return SheetRow("a.png", "none", pixels, reproductions, **options)


def count(sheet, colour):
    return int((np.asarray(sheet) == colour).all(-1).sum())


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((64, 64), (128, 128)),
        ((28, 28), (112, 112)),
        ((1, 1), (128, 128)),
        ((20, 30), (80, 120)),
        ((100, 100), (100, 100)),
        ((256, 256), (256, 256)),
        ((512, 512), (256, 256)),
        ((1000, 500), (256, 128)),
    ],
)
def test_images_are_enlarged_by_whole_factors_or_reduced(shape, shown):
    assert count(contact_sheet([row(plain(*shape))]), RED) == shown[0] * shown[1]


def test_enlarged_pixels_stay_square():
    pixels = plain(16, 16, (0, 0, 0))
    pixels[3, 5] = RED
    where = np.argwhere((np.asarray(contact_sheet([row(pixels)])) == RED).all(-1))
    assert len(where) == 64
    assert (np.ptp(where, axis=0) == 7).all()


def test_difference_is_grey_where_equal_and_amplified_elsewhere():
    observation = plain(32, 32)
    reproduction = to_float(observation)
    exact = contact_sheet([row(observation, Reproduction("g", reproduction, 0.0))])
    assert count(exact, (128, 128, 128)) == 128 * 128
    off = contact_sheet(
        [row(observation, Reproduction("g", reproduction + np.float32([2, -1, 0.5]) / 127.5, 1e-4))]
    )
    assert count(off, (128 + 16, 128 - 8, 128 + 4)) == 128 * 128
    assert "x8" in module._explanation(1, 1)


def test_difference_is_measured_in_the_candidates_shape():
    grey = plain(64, 64, (90, 90, 90))
    sheet = contact_sheet([row(grey, Reproduction("g", to_float(plain(32, 32, (90,))), 0.0))])
    assert count(sheet, (128, 128, 128)) == 128 * 128


def test_transparency_is_shown_over_a_checkerboard():
    clear = np.zeros((16, 16, 4), np.uint8)
    sheet = contact_sheet([row(clear, Reproduction("g", to_float(clear), 0.0))])
    assert count(sheet, (204, 204, 204)) == 2 * 128 * 128 // 2  # every other square, in two images
    assert count(sheet, (128, 128, 128)) == 128 * 128


def test_winner_is_framed_and_named_not_only_coloured():
    observation = plain(32, 32)
    candidates = [Reproduction(name, to_float(observation), 1e-6) for name in ("one", "two")]
    without = np.asarray(contact_sheet([row(observation, *candidates)]).convert("L")).astype(int)
    first = np.asarray(
        contact_sheet([row(observation, *candidates, winner="one")]).convert("L")
    ).astype(int)
    second = np.asarray(
        contact_sheet([row(observation, *candidates, winner="two")]).convert("L")
    ).astype(int)
    columns = [np.argwhere((abs(marked - without) > 100).any(0)) for marked in (first, second)]
    assert columns[0].max() < columns[1].min()
    assert np.ptp(columns[0]) > 2 * 128  # the frame holds reproduction and difference
    # Its tag is drawn too: far more changed pixels than a frame of width 3 has.
    assert (abs(first - without) > 100).sum() > 2 * 3 * (275 + 200)


def test_failures_are_shown_as_such():
    nan = np.full((8, 8, 3), np.nan, np.float32)
    failed = [Reproduction("none", None, None), Reproduction("nan", nan, None)]
    sheet = contact_sheet([row(plain(8, 8), *failed), row(None, *failed), row(None)])
    empty = np.asarray(Image.new("RGB", (1, 1), module._EMPTY))[0, 0]
    assert count(sheet, empty) > 4 * 200 * 60
    assert contact_sheet([]).size[0] >= 300


def test_rows_beyond_the_cap_are_counted_not_drawn():
    rows = [row(plain(4, 4)) for _ in range(module.MAX_SHEET_ROWS + 7)]
    shown = module._rows_that_fit(rows, 480)
    assert len(shown) == module.MAX_SHEET_ROWS
    assert "First 100 of 107 images, 7 left out" in module._explanation(len(rows), len(shown))
    assert count(contact_sheet(rows), RED) == module.MAX_SHEET_ROWS * 128 * 128


@pytest.mark.slow
def test_the_sheet_has_a_largest_size():
    large = plain(300, 300)
    candidates = [Reproduction(str(i), to_float(large), 1.0) for i in range(9)]
    sheet = contact_sheet([row(large, *candidates)] * 60)
    assert sheet.width * sheet.height <= module.MAX_SHEET_PIXELS
    assert sheet.height <= module.MAX_HEIGHT
    assert count(sheet, RED) > 256 * 256 * (module.MAX_CANDIDATES + 1)


def test_best_candidates_are_kept_in_the_order_given():
    residuals = [8.0, 7.0, None, 6.0, 5.0, 4.0, 3.0, 2.0]
    candidates = [Reproduction(str(i), None, residual) for i, residual in enumerate(residuals)]
    assert [c.name for c in module._best(row(None, *candidates))] == ["1", "3", "4", "5", "6", "7"]
    assert [c.name for c in module._best(row(None, *candidates, winner="2"))] == [
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "\u202egnp.exe",
        "a\nb\tc\0d\x1b[31m",
        "日本語" * 500,
        "\ufdfa" * 9000,
        "\udcff",
        "",
        "W" * 200,
    ],
)
def test_foreign_text_is_made_drawable_and_fits(text):
    for room in (40, 200, 1000):
        short = fitted(text, font(13), room)
        assert all(" " <= c <= "~" for c in short)
        assert font(13).getlength(short) <= room
    contact_sheet([SheetRow(text, text, plain(4, 4), [Reproduction(text, None, 1.0)], text)])


def test_long_names_keep_their_beginning_and_end():
    short = fitted("run-1/" + "x" * 300 + "/000042.png", font(15), 260)
    assert short.startswith("run-1/")
    assert short.endswith("/000042.png")
    assert "..." in short
    assert drawable("Éclair ﬁn") == "Eclair fin"


def test_wrapped_lines_keep_every_word():
    text = module._explanation(3, 2)
    lines = wrapped(text, font(13), 300)
    assert " ".join(lines) == text
    assert all(font(13).getlength(line) <= 300 for line in lines)


def test_names_stay_within_the_page():
    wide = SheetRow(
        "W" * 400,
        "M" * 400,
        plain(4, 4),
        [Reproduction("W" * 400, to_float(plain(4, 4)), 1.0)],
        "W" * 400,
    )
    sheet = np.asarray(contact_sheet([wide]))
    assert (sheet[:, :20] == 255).all()
    assert (sheet[:, -15:] == 255).all()
    # The winner's name ends before its tag: white to the left of the tag over its whole height.
    green = (sheet == np.asarray(Image.new("RGB", (1, 1), module._WINNER))[0, 0]).all(-1)
    top = np.flatnonzero(green.sum(1) > 2 * 128)[0]
    left = np.flatnonzero(green[top + 4])[3]  # after the three columns of the frame
    assert (sheet[top + 3 : top + 22, left - 3 : left] == 255).all()


def test_accused_arrays_are_checked():
    with pytest.raises(ImageError, match="legal is uint8"):
        contact_sheet([row(np.zeros((4, 4, 3), np.float32))])


def test_rows_whose_images_were_not_kept_are_left_out_and_not_called_unread():
    pixels = plain(32, 32)
    kept, left_out = row(pixels), row(None, left_out=True)
    assert contact_sheet([kept, left_out]).height == contact_sheet([kept]).height
    unread = row(None)  # a file that could not be read has its row
    assert contact_sheet([kept, unread]).height > contact_sheet([kept]).height


def test_every_name_of_a_class_is_framed():
    pixels, winner = plain(32, 32), (11, 93, 68)
    names = [Reproduction(name, to_float(pixels), 0.0) for name in ("a", "b", "c")]
    frames = [
        count(contact_sheet([row(pixels, *names, winner="a", winners=winners)]), winner)
        for winners in ((), ("a",), ("a", "b"))
    ]
    assert frames[0] == frames[1] > 0
    assert frames[2] > 1.8 * frames[1]
