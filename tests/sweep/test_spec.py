import pytest

from jattr.errors import InputError
from jattr.sweep.cells import make_plan
from jattr.sweep.spec import Pictures, Setting, Spec, from_json, grid, to_json
from jattr.sweep.spec_file import load_spec, parse_spec

SMALL = 'candidates = ["a"]\npictures = [{kind = "own"}]\n'
WHOLE = """
name = "whole"
candidates = ["a", "b"]
against = "maker"
alterations = ["none", "jpeg:75"]
attacks = ["none", "noise:4"]
seeds = [0, 1]
block = 16
[[pictures]]
kind = "own"
count = 5
seed = 3
[[pictures]]
kind = "folder"
folder = "photographs"
resize = true
[grid]
optimiser = ["auto", "lbfgs"]
modelled = [true, false]
[[setting]]
name = "paper"
optimiser = "adam-paper"
restarts = 3
"""


def test_everything_that_a_file_can_say():
    spec = parse_spec(WHOLE)
    assert spec.pictures == (
        Pictures(kind="own", count=5, seed=3),
        Pictures(kind="folder", folder="photographs", resize=True),
    )
    assert [setting.name for setting in spec.settings] == [
        "optimiser=auto,modelled=True",
        "optimiser=auto,modelled=False",
        "optimiser=lbfgs,modelled=True",
        "optimiser=lbfgs,modelled=False",
        "paper",
    ]
    assert [setting.modelled for setting in spec.settings] == [True, False, True, False, True]
    assert (spec.settings[4].config.optimiser, spec.settings[4].config.restarts) == (
        "adam-paper",
        3,
    )
    assert (spec.against, spec.seeds, spec.block) == ("maker", (0, 1), 16)
    assert from_json(to_json(spec)) == spec


def test_a_spec_without_settings_has_the_default_one():
    (setting,) = parse_spec(SMALL).settings
    assert setting.name == "default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMALL + "alteration = []", "there is no key 'alteration'; did you mean \"alterations\"?"),
        (
            SMALL + "[grid]\noptimizer = ['auto']",
            "there is no setting 'optimizer'; did you mean \"optimiser\"?",
        ),
        (SMALL + "[grid]\nrestarts = []", "'restarts' has no values, so the grid has no cells"),
        (SMALL + "[grid]\nrestarts = 3", "grid: restarts is 3; it is a list"),
        (SMALL + "[grid]\nrestarts = [0]", "restarts is 0"),
        (SMALL + "[grid]\nmodelled = [1]", "it is true or false"),
        (SMALL + "[[setting]]\nrestarts = 3", "setting: name is missing"),
        (
            'candidates = []\npictures = [{kind = "own"}]',
            "candidates is empty, so the sweep has no cells",
        ),
        ('candidates = ["a", "a"]\npictures = [{kind = "own"}]', "candidates has 'a' twice"),
        ('candidates = ["a"]\npictures = []', "pictures is empty"),
        ('candidates = ["a"]', "pictures is missing"),
        ('candidates = "a"\npictures = []', "candidates is 'a'; it is a list"),
        ('candidates = [1]\npictures = [{kind = "own"}]', "it is a list of texts"),
        ('candidates = ["a"]\npictures = [{kind = "owm"}]', 'did you mean "own"?'),
        ('candidates = ["a"]\npictures = [{kind = "own", conut = 3}]', 'did you mean "count"?'),
        ('candidates = ["a"]\npictures = [{kind = "own", count = 0}]', "count is 0"),
        ('candidates = ["a"]\npictures = [{kind = "own", count = true}]', "count is True"),
        ('candidates = ["a"]\npictures = [{kind = "others"}]', "'others' alone has some"),
        ('candidates = ["a"]\npictures = [{kind = "folder"}]', "'folder' alone has one"),
        (SMALL + 'alterations = ["blurr:1"]', "there is no alteration 'blurr'"),
        (SMALL + 'alterations = ["brightness:?"]', "unknown factor"),
        (SMALL + 'attacks = ["nois:4"]', 'did you mean "noise"?'),
        (SMALL + 'attacks = ["noise:0"]', "from 1 to 255"),
        (SMALL + 'attacks = ["noise"]', "write noise:EPS"),
        (SMALL + 'against = "makers"', 'did you mean "maker"?'),
        (SMALL + "seeds = [-1]", "a seed is -1"),
        (SMALL + "block = 0", "block is 0"),
        (SMALL + "name = ''", "the sweep's name"),
        ("= 3", "it is no TOML"),
    ],
)
def test_what_is_no_spec_is_refused_in_words_that_help(text, words):
    with pytest.raises(InputError) as error:
        parse_spec(text)
    assert words in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name, words in (("none.toml", "cannot read spec"), ("bytes.toml", "no UTF-8")):
        with pytest.raises(InputError, match=words):
            load_spec(tmp_path / name)


def test_a_spec_is_read_no_further_than_its_bound():
    with pytest.raises(InputError, match="more than 1048576 bytes"):
        load_spec("/dev/zero")


def test_a_grid_of_one_has_a_plain_name():
    assert [setting.name for setting in grid({"restarts": [2]})] == ["default"]


def plan_of(tiny_folders, **changes):
    values = {
        "candidates": (str(tiny_folders["tiny"]), str(tiny_folders["tiny_b"])),
        "pictures": (Pictures(kind="own", count=5),),
        "settings": grid({"restarts": [1, 2]}),
        "block": 4,
    }
    return make_plan(Spec(**(values | changes)))


def test_a_plan_has_every_combination_once_and_in_order(tiny_folders):
    plan = plan_of(tiny_folders, alterations=("none", "jpeg:75"), seeds=(0, 1))
    # makers, blocks, alterations, candidates, settings, seeds
    assert len(plan.cells) == 2 * 2 * 2 * 2 * 2 * 2
    assert [cell.number for cell in plan.cells] == list(range(64))
    assert len({cell.key for cell in plan.cells}) == 64
    assert [cell.batch.count for cell in plan.cells[::16]] == [4, 1, 4, 1]
    alone = plan_of(tiny_folders, against="maker")
    assert {(cell.batch.maker, cell.candidate) for cell in alone.cells} == {
        ("tiny", "tiny"),
        ("tiny_b", "tiny_b"),
    }


def test_a_key_depends_on_what_a_cell_is_and_not_on_its_place(tiny_folders):
    keys = {cell.key for cell in plan_of(tiny_folders).cells}
    more = plan_of(
        tiny_folders,
        pictures=(Pictures(kind="renderer", count=1), Pictures(kind="own", count=5)),
        seeds=(7, 0),
    )
    assert keys < {cell.key for cell in more.cells}
    for changes in (
        {"pictures": (Pictures(kind="own", count=5, seed=2),)},
        {"settings": grid({"restarts": [1, 2], "steps": [7]})},
        {"settings": grid({"restarts": [1, 2]}, modelled=[False])},
        {"seeds": (1,)},
        {"alterations": ("flip",)},
        {"attacks": ("noise:1",)},
    ):
        assert not keys & {cell.key for cell in plan_of(tiny_folders, **changes).cells}


def test_what_cannot_be_planned(tiny_folders):
    tiny = str(tiny_folders["tiny"])
    twins = Setting(name="twin", config=grid({})[0].config)
    for changes, words in (
        ({"candidates": ("dcgan_a", tiny)}, "shapes"),
        ({"settings": (*grid({}), twins)}, "the same cell occurs twice"),
        (
            {"pictures": (Pictures(kind="others", generators=(tiny,)),)},
            "is a candidate and one of the others",
        ),
        ({"pictures": (Pictures(kind="folder", folder="no such folder"),)}, "is no folder"),
        ({"settings": grid({"space": ["w"]})}, "space"),
    ):
        with pytest.raises(InputError, match=words):
            plan_of(tiny_folders, **changes)
