import pytest

from jattr.cli.bench import SPEED, SUITE_NAMES
from jattr.sweep.cells import make_plan
from jattr.sweep.spec import from_json, to_json
from jattr.sweep.suites import PAPER, SUITES, make_suite, paper_spec


def test_the_command_line_knows_every_suite():
    assert set(SUITE_NAMES) == {*SUITES, SPEED}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("quick", [True, False])
def test_every_suite_can_be_planned(name, quick):
    spec = make_suite(name, quick=quick)
    assert from_json(to_json(spec)) == spec
    plan = make_plan(spec)
    assert len(plan.cells) <= (30 if quick else 2_500)
    assert spec.name == name


def test_the_papers_recipe_is_the_papers():
    spec = paper_spec(("dcgan_a",), count=1, distance="ssim")
    (recipe,) = [setting.config for setting in spec.settings if setting.name == PAPER]
    assert (recipe.optimiser, recipe.steps, recipe.restarts, recipe.distance) == (
        "adam-paper",
        500,
        3,
        "ssim",
    )
    assert (recipe.start, recipe.polish_steps, recipe.interval_steps, recipe.early_stop) == (
        "prior",
        0,
        0,
        False,
    )
