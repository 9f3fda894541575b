"""`calibrate` in Python: which negatives are refused, before any search."""

import numpy as np
import pytest
from tiny_generator import make_tiny

from jattr.attribution.calibrate import calibrate
from jattr.decision.calibration_json import from_json, to_json
from jattr.errors import ImageError, InputError
from jattr.inversion.config import InvertConfig

PAIR = (make_tiny(), make_tiny(seed=1, name="tiny_b"))
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
REFUSED = {
    "an empty name": ({"": IMAGES}, InputError, "a kind of negatives is ''; give a line of text"),
    "a blank name": ({" ": IMAGES}, InputError, "a kind of negatives is ' '; give a line of text"),
    "a number": ({1: IMAGES}, InputError, "a kind of negatives is 1; give a line of text"),
    "a candidate's images": (
        {"other generator: tiny_b": IMAGES},
        InputError,
        (
            "'other generator: tiny_b'; names from 'other generator: ' on are those of images that"
            " candidates made: give"
        ),
    ),
    "no images": (
        {"photograph": IMAGES, "renderer": IMAGES[:0]},
        ImageError,
        "there are 0 negatives 'renderer'; give at least one image, or leave that kind away",
    ),
    "equal images of one kind": (
        {"photograph": IMAGES[[0, 1, 2, 1]]},
        ImageError,
        (
            "negatives 'photograph' 1 and 'photograph' 3 are equal images, which would count as two"
            " where they are one"
        ),
    ),
    "equal images of two kinds": (
        {"photograph": IMAGES[:2], "renderer": IMAGES[3:0:-1]},
        ImageError,
        "negatives 'photograph' 1 and 'renderer' 2 are equal images",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_negatives_that_would_weaken_the_guarantee_are_refused_before_any_search(name):
    negatives, error, message = REFUSED[name]

    def progress(done):
        raise AssertionError("searched")

    with pytest.raises(error) as caught:
        calibrate(PAIR, negatives=negatives, own=2, others=1, progress=progress)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_is_calibrated_is_a_file_that_is_read_again():
    config = InvertConfig(restarts=4, lanes=4).search
    found = calibrate(PAIR, negatives={"noise": IMAGES[:2]}, own=3, others=1, search=config)
    assert from_json(to_json(found)) == found
    assert set(found.sample("tiny", "clean").negatives) == {"noise", "other generator: tiny_b"}
    assert len(found.sample("tiny", "clean").own) == 3
