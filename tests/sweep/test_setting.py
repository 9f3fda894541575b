"""Settings of a sweep: names of any depth, objects, and what of them a file can hold."""

import dataclasses
import hashlib
import json
import pickle

import numpy as np
import optax
import pytest

from jattr import InvertConfig, MultiStart
from jattr.distances.registry import from_function
from jattr.errors import InputError
from jattr.inversion.config import search_facts
from jattr.inversion.settings import Polish, Stopping
from jattr.inversion.warm_start import Encoder, Given, Pool, Prior, Ridge
from jattr.solvers import BFGS, LBFGS, METHODS, Optax
from jattr.sweep import Pictures, Setting, Spec, grid
from jattr.sweep.cells import make_plan
from jattr.sweep.run import run_sweep, stored_plan
from jattr.sweep.setting import config_of, legal_names
from jattr.sweep.spec import from_json, to_json
from jattr.sweep.spec_file import parse_spec
from jattr.sweep.store import open_for_reading

CHAIN = Optax(
    optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.05)),
    steps=40,
    name="clipped adam",
    version="1",
)


def mean_start(gen, images, *, num_restarts, key, pool):
    """Begin at the prior's mean."""
    return np.zeros((len(images), num_restarts, int(np.prod(gen.latent_shape))), np.float32)


mean_start.name, mean_start.version = "mean", "1"


def spec_of(settings, folder="a", **changes):
    values = {"candidates": (str(folder),), "pictures": (Pictures(kind="own", count=2),)}
    return Spec(settings=settings, **(values | changes))


def through_a_file(spec):
    return from_json(json.loads(json.dumps(to_json(spec))))


def test_fields_of_any_depth_can_be_varied():
    axes = {"solver.memory": [5, 20], "stopping.stall": [0.05], "warm_start": ["prior"]}
    settings = grid(axes)
    assert [setting.name for setting in settings] == ["solver.memory=5", "solver.memory=20"]
    assert settings[0].search == MultiStart(
        solver=LBFGS(memory=5), stopping=Stopping(stall=0.05), warm_start=Prior()
    )
    deep = config_of({"two_stage.mapping.rounds": 3, "observing.nuisance_fit.restarts": 5})
    assert deep.two_stage.mapping.rounds == 3
    assert deep.observing.nuisance_fit.restarts == 5


@pytest.mark.parametrize("name", legal_names())
def test_every_legal_name_is_read(name):
    """With the value that it has anyway, beside a solver or start that has it."""
    beside, value = {}, None
    for base in (MultiStart(), InvertConfig()):
        if hasattr(base, name):
            value = getattr(base, name)
    if "." in name:
        root, _, rest = name.partition(".")
        options = {"solver": METHODS.values(), "warm_start": (Ridge(), Pool(), Encoder())}
        bases = options.get(root, (getattr(MultiStart(), root, None),))
        for base in [*bases, config_of({"solver": "adam:0.1"}).solver]:
            part = base
            for field in rest.split("."):
                part = getattr(part, field, None)
            if part is not None or hasattr(base, rest):
                beside, value = ({root: base} if root in options else {}), part
                break
        else:
            pytest.fail(f"nothing has {name}")
    assert config_of(beside | {name: value})


def test_flat_names_keep_what_stores_were_begun_with():
    (setting,) = grid({"restarts": [2], "polish_steps": [0]})
    assert setting.config == InvertConfig(restarts=2, polish_steps=0)
    table = to_json(spec_of((setting,)))["settings"][0]
    assert table["config"] == dataclasses.asdict(InvertConfig(restarts=2, polish_steps=0))
    assert set(to_json(spec_of((setting,)))["pictures"][0]) == {
        "kind", "count", "seed", "generators", "folder", "resize"
    }  # fmt: skip


def test_the_keys_and_specs_of_0_2_0_are_the_same():
    """A store that was begun then is gone on with: digests as version 0.2.0 had them."""
    axes = {
        "optimiser": ["adam:0.05:cosine", "auto"],
        "start": ["prior", "pool", "linear"],
        "spread": [0.1],
        "pool": [None, 64],
        "stall": [None, 0.05],
        "distance": [None, "ssim"],
        "precision": ["high"],
    }
    spec = spec_of(grid(axes), "a")
    facts = [search_facts(setting.search) for setting in spec.settings]
    digests = [
        hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
        for data in (to_json(spec), facts)
    ]
    assert digests == ["4e7754fa8ee46b2d", "b21202f3f5656ebc"]


def test_one_search_has_one_key_however_it_is_spelled(tiny_folders):
    flat = make_plan(spec_of(grid({"stall": [0.05], "optimiser": ["bfgs"]}), tiny_folders["tiny"]))
    deep = make_plan(
        spec_of(grid({"stopping.stall": [0.05], "solver": [BFGS()]}), tiny_folders["tiny"])
    )
    assert [cell.key for cell in flat.cells] == [cell.key for cell in deep.cells]
    assert dataclasses.replace(flat.cells[0].search, seed=0) == deep.cells[0].search


def test_a_flat_name_beside_a_path():
    assert config_of({"optimiser": "lbfgs", "solver.memory": 3}).solver == LBFGS(memory=3)
    assert config_of({"start": "prior", "spread": 0.1, "stopping.far": 0.1}).warm_start == Prior(
        guess=Ridge(spread=0.1)
    )
    assert config_of({"polish": Polish(again=0.5), "polish.steps": 3}).polish == Polish(
        steps=3, again=0.5
    )


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"solver.memry": [5]}, 'did you mean "solver.memory"?'),
        ({"stoping.stall": [0.1]}, 'did you mean "stopping.stall"?'),
        ({"stopping.stal": [0.1]}, 'did you mean "stopping.stall"?'),
        ({"two_stage.mapping.round": [1]}, 'did you mean "two_stage.mapping.rounds"?'),
        ({"zzz": [1]}, "legal: optimiser, steps"),
        ({"racing.ahead": [3]}, "a cell searches under one candidate"),
        ({"seed": [3]}, "seeds are the sweep's own"),
        ({"stopping.stall": ["x"]}, "stopping.stall is 'x'; it is a number or None"),
        ({"polish.steps": [1.5]}, "polish.steps is 1.5; it is a whole number"),
        ({"stopping.early": [1]}, "stopping.early is 1; it is true or false"),
        ({"pooling.size": [True]}, "pooling.size is True; it is a whole number or None"),
        ({"polish.steps": [-1]}, "polish.steps is -1"),
        ({"polish": [3]}, "polish is 3; it is a Polish"),
        ({"polish.steps": [3], "polish_steps": [4]}, "are one setting"),
        ({"solver": ["bfgs"], "solver.memory": [4]}, "BFGS has no such field"),
        ({"solver.steps": [4]}, "the solver is not named"),
        ({"solver.b1": [0.5]}, "the solver is not named (with these fields: FirstOrder)"),
        ({"solver": ["lbgfs"]}, "solver is 'lbgfs'"),
        ({"solver": [{"kind": "LBGFS"}]}, 'did you mean "LBFGS"?'),
        ({"warm_start": ["rigde"]}, 'did you mean "ridge"?'),
        ({"polish.steps": 3}, "it is a list of values"),
        ({"solver": [optax.adam(0.1)]}, "no name and version"),
        ({"warm_start": [lambda gen, images, **rest: images]}, "no name and version"),
        ({"distance": [lambda a, b: abs(a - b).sum()]}, "no name and version"),
        ({"distance": [from_function(lambda a, b: abs(a - b).sum(), name="l")]}, "no version"),
    ],
)
def test_what_is_refused_names_what_is_legal(axes, words):
    with pytest.raises(InputError) as error:
        grid(axes)
    assert words in str(error.value)


def test_toml_says_the_same_in_tables_and_dotted_names():
    head = 'candidates = ["a"]\npictures = [{kind = "own"}]\n'
    spec = parse_spec(
        head
        + """
        [grid]
        solver = ["lbfgs", {kind = "LBFGS", memory = 5}]
        stopping.stall = [0.05]
        "polish.steps" = [0, 12]
        modelled = [true]
        [[setting]]
        name = "single"
        polish.steps = 3
        warm_start = {kind = "Prior"}
        """
    )
    assert [setting.name for setting in spec.settings] == [
        "solver=lbfgs,polish.steps=0",
        "solver=lbfgs,polish.steps=12",
        "solver=kind=LBFGS;memory=5,polish.steps=0",
        "solver=kind=LBFGS;memory=5,polish.steps=12",
        "single",
    ]
    assert spec.settings[2].search == MultiStart(
        solver=LBFGS(memory=5), stopping=Stopping(stall=0.05), polish=Polish(steps=0)
    )
    assert spec.settings[4].search == MultiStart(polish=Polish(steps=3), warm_start=Prior())
    assert through_a_file(spec) == spec
    with pytest.raises(InputError, match=r'grid: .* did you mean "stopping.stall"'):
        parse_spec(head + "[grid]\nstopping.stal = [0.1]")
    with pytest.raises(InputError, match=r"setting: .* did you mean"):
        parse_spec(head + "[[setting]]\nname = 'a'\nstopping.stal = 0.1")


def test_what_a_file_can_hold_comes_back_and_the_rest_says_so():
    own = grid({"solver.memory": [5], "warm_start": [Pool(guess=Ridge(spread=0.1))]})
    assert through_a_file(spec_of(own)) == spec_of(own)
    (given,) = grid({"warm_start": [Given(np.zeros((2, 1, 4), np.float32))]})
    for setting in (given, *grid({"solver": [CHAIN]}), *grid({"warm_start": [mean_start]})):
        spec = spec_of((setting,))
        read = through_a_file(spec)
        assert json.dumps(to_json(read)) == json.dumps(to_json(spec))
        assert read.settings[0].config.distance is None
        with pytest.raises(InputError, match="no file can hold; go on from there"):
            read.settings[0].search  # noqa: B018


@dataclasses.dataclass(frozen=True)
class Walk:
    """A solver of the caller's own."""

    rate: float = 0.1
    name = "walk"
    version = "1"

    def init(self, z):
        return z

    def step(self, state, problem):
        return state, (state, (problem.residual(state) ** 2).mean())


def test_a_version_is_in_the_key(tiny_folders):
    def key(**values):
        setting = Setting(name="a", config=MultiStart(**values))
        (cell,) = make_plan(spec_of((setting,), tiny_folders["tiny"])).cells
        return cell.key

    class Later(Walk):
        version = "2"

    assert key(solver=Walk()) == key(solver=Walk())
    assert len({key(solver=solver) for solver in (Walk(), Walk(0.2), Later())}) == 3
    later = dataclasses.replace(CHAIN, version="2")
    assert key(solver=CHAIN) != key(solver=later)
    first = from_function(lambda a, b: abs(a - b).sum(), name="l", version="1")
    second = from_function(lambda a, b: abs(a - b).sum(), name="l", version="2")
    assert key(distance=first) != key(distance=second)


def test_objects_run_and_go_on_with_the_same_spec(tiny_folders, tmp_path):
    axes = {"solver": [CHAIN], "warm_start": [mean_start], "polish.steps": [0], "restarts": [1]}
    spec = spec_of(grid(axes), tiny_folders["tiny"])
    assert run_sweep(spec, tmp_path / "out").counts["done"] == 1
    assert run_sweep(spec, tmp_path / "out").computed == 0
    with pytest.raises(InputError, match=r"run_sweep\(spec, folder\)"):
        stored_plan(tmp_path / "out")
    with open_for_reading(tmp_path / "out") as store:
        assert store.meta()["spec"]["settings"][0]["config"]["search"]["warm_start"] == {
            "name": "mean",
            "version": "1",
        }
    assert pickle.loads(pickle.dumps(spec_of(grid({"warm_start": [mean_start]}))))  # noqa: S301
