"""What restarts say in words: where they help, and where nothing is known."""

import pytest

from jattr.decision.power import found_in_words, missed_by_all, power_of, what_restarts_settle
from jattr.decision.restart_power import Restarts

SURE = Restarts((1,) * 100, (True,) * 100)
HARD = Restarts((1, 3, 2, 3) * 5, (True, True, True, False) * 5)
NEVER = Restarts((3,) * 20, (False,) * 20)


def test_the_numbers_are_those_of_the_restarts():
    power = power_of(HARD, 8)
    assert (power.restarts, power.images, power.arrived) == (8, 20, 15)
    assert power.expected == pytest.approx(45 / 15)
    assert power.miss_bound == HARD.missed_at_most(3)
    assert power.miss_model == HARD.missed(8) < HARD.missed(3)
    assert power.needed == HARD.needed(1e-3)
    assert (power_of(NEVER, 3).expected, power_of(NEVER, 3).needed) == (None, None)
    assert (power_of(NEVER, 3).miss_bound, power_of(NEVER, 3).miss_model) == (1.0, 1.0)


def test_none_states_the_worst_of_the_candidates():
    both = missed_by_all([power_of(SURE, 8), power_of(HARD, 3)])
    assert both == (
        "; 3 or 8 restarts miss at most 46 % of any candidate's own images (95 % sure, without"
        " a model)"
    )
    assert missed_by_all([power_of(SURE, 1)]).startswith(
        "; 1 restart misses at most 3 % of its own"
    )


@pytest.mark.parametrize(
    "powers", [[], [None], [power_of(SURE, 8), None], [power_of(SURE, 8), power_of(NEVER, 8)]]
)
def test_nothing_is_said_of_misses_that_are_not_known(powers):
    assert missed_by_all(powers) == ""


def test_a_doubt_says_what_would_settle_it():
    needed = HARD.needed(1e-3)
    assert what_restarts_settle(power_of(HARD, 3)).endswith(
        f"(95 % sure), {needed} would miss about 0.1 %"
    )
    assert what_restarts_settle(power_of(HARD, needed)).endswith("(95 % sure)")
    assert "none of 20 own images was found" in what_restarts_settle(power_of(NEVER, 3))
    assert what_restarts_settle(None) == ""


def test_what_calibrate_prints():
    assert found_in_words(SURE).startswith(
        "100 of 100 arrived, 1.0 restarts expected; 1 restart misses "
    )
    assert found_in_words(NEVER) == "0 of 20 arrived within 3 restarts: more may not help"
