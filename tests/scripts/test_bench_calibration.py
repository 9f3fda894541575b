"""What the benchmark of calibrated verdicts counts."""

from types import SimpleNamespace

import numpy as np
import pytest
from bench_calibration import NOBODY, Scores, open_set, promises

NAMES = ("a", "b", "c")
GENERATORS = [
    SimpleNamespace(name=name, digest=str(number) * 64) for number, name in enumerate(NAMES)
]


def drawn(count, seed, nobody=None):
    """Scores of images of each candidate, far below others' under their maker, and of nobody."""
    rng = np.random.default_rng(seed)
    made = []
    for number, name in enumerate((*NAMES, NOBODY)):
        values = rng.normal(-1.0, 0.1, (nobody if nobody and name == NOBODY else count, len(NAMES)))
        if name != NOBODY:
            values[:, number] -= 4.0
        made.append(Scores(name, values))
    return made


def counted(known, change=None):
    test = drawn(20, 1, nobody=10)
    if change:
        change({scores.maker: scores.values for scores in test})
    return open_set(known, test, GENERATORS)


def test_an_image_is_one_trial_however_often_it_is_judged():
    def named(test):
        test[NOBODY][0] = -1.0, -5.0, -1.0  # named b, except where b is left out

    row = counted(drawn(80, 0), named)
    assert (row["foreign"], row["judgements"], row["could_be_named"]) == (
        3 * 20 + 10,
        3 * 20 + 4 * 10,
        70,
    )
    assert row["false_attribution"] == pytest.approx(1 / 70)
    assert row["false_at_most"] == pytest.approx(0.0660, abs=1e-4)  # Clopper-Pearson, 1 of 70
    assert row["wrong_names"]["share"] == 0
    assert row["wrong_names"]["wrong_at_most"] == pytest.approx(1 - 0.05 ** (1 / 60))
    assert (row["own"], row["true_attribution"] > 0.8) == (60, True)


def test_a_candidates_image_under_another_name_is_counted():
    def named(test):
        test["a"][:2] = -1.0, -5.0, -1.0

    row = counted(drawn(80, 0), named)
    assert row["wrong_names"]["share"] == pytest.approx(2 / 60)
    assert (row["wrong_names"]["own"], row["wrong_names"]["could_be_named"]) == (60, 60)
    assert row["wrong_names"]["wrong_at_most"] > 2 / 60
    assert row["false_attribution"] == pytest.approx(2 / 70)  # where a is left out


def test_without_negatives_enough_for_a_name_there_is_no_bound():
    row = counted(drawn(20, 0))  # two candidates need 39 of each kind, three 59
    assert (row["false_attribution"], row["false_at_most"], row["could_be_named"]) == (0, None, 0)
    assert row["wrong_names"]["wrong_at_most"] is None
    row = counted(drawn(45, 0))  # enough for the rounds of two
    assert (row["foreign"], row["could_be_named"]) == (70, 70)


def test_the_error_of_the_likeliest_answer_is_of_one_number_an_image():
    known, test = drawn(80, 0), drawn(20, 1, nobody=10)
    row = promises(known, test, GENERATORS)
    assert 0 < row["posterior_error"] < row["top_error"] < 0.1
    assert row["top_error_interval"][0] <= row["top_error"] <= row["top_error_interval"][1]
    test[0].values[:10] = -1.0, -5.0, -1.0  # 10 of 70 images look like another's
    assert promises(known, test, GENERATORS)["top_error"] == pytest.approx(1 / 7, abs=0.03)
