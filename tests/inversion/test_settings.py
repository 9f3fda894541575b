"""Settings of a search: objects whose every number is a field, and their flat spelling."""

import ast
import dataclasses
import itertools
import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import SHAPE, make_toy, own_images

import jattr
from jattr import settings, solvers, warm_starts
from jattr.attribution.attribute import attribute
from jattr.attribution.calibrate import calibrate
from jattr.attribution.racing import Racing
from jattr.distances.registry import as_distance, from_function
from jattr.errors import InputError
from jattr.inversion.config import InvertConfig, as_search, flat_settings, search_facts
from jattr.inversion.invert import invert
from jattr.inversion.multistart import OneStageSearch
from jattr.inversion.observation.make import make_observation
from jattr.inversion.scheduler import Status
from jattr.inversion.settings import MultiStart, describe
from jattr.inversion.two_stage import TwoStageSearch, make_inverter

PACKAGE = Path(jattr.__file__).parent
QUICK = MultiStart(pooling=settings.Pooling(size=128), restarts=2)


def parts_of(thing):
    """The settings object and all that lie within it."""
    yield thing
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if dataclasses.is_dataclass(value):
            yield from parts_of(value)


OBJECTS = [
    *parts_of(MultiStart()),
    warm_starts.Encoder(),
    warm_starts.Pool(),
    warm_starts.Prior(),
    Racing(),
]
NUMBERS = [
    (thing, field.name)
    for thing in OBJECTS
    for field in dataclasses.fields(thing)
    if isinstance(getattr(thing, field.name), (int, float))
    and not isinstance(getattr(thing, field.name), bool)
]


def ids_of(pairs):
    return [f"{type(thing).__name__}.{name}" for thing, name in pairs]


@pytest.fixture(scope="module")
def toy():
    return make_toy()


@pytest.fixture(scope="module")
def own(toy):
    return own_images(toy, 2)


@pytest.mark.parametrize("thing", OBJECTS, ids=lambda thing: type(thing).__name__)
def test_settings_are_values(thing):
    assert pickle.loads(pickle.dumps(thing)) == thing  # noqa: S301
    assert hash(thing) == hash(dataclasses.replace(thing))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, dataclasses.fields(thing)[0].name, 1)


@pytest.mark.parametrize(("thing", "name"), NUMBERS, ids=ids_of(NUMBERS))
def test_every_number_is_read_and_is_checked_and_counts(thing, name):
    """A number that no code reads would have no effect; one that keys leave out would be lost."""
    assert name in _attributes_read()
    for bad in (-1, float("nan"), "3", True):
        with pytest.raises(InputError, match=name):
            dataclasses.replace(thing, **{name: bad})
    value = getattr(thing, name)
    changed = value + 1 if isinstance(value, int) else value / 2
    if isinstance(thing, settings.EnsembleKalman) and name == "size":
        changed = 2 * value
    other = dataclasses.replace(thing, **{name: changed})
    assert other != thing
    assert describe(other) != describe(thing)


def _attributes_read(cache=[]):  # noqa: B006
    if not cache:
        names = set()
        for path in PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    names.add(node.attr)
        cache.append(names)
    return cache[0]


# Of bytes and logarithms; sizes of files and lists that are read; a format's number.
CONSTANTS = {
    *("BYTES_PER_UNIT", "FLOOR", "LOGIT_SCALE", "LOG_2PI", "MIDDLE", "STEP"),
    *("MAX_CALIBRATION", "MAX_IMAGES", "MAX_NEGATIVES", "MAX_SHOWN", "SCHEMA"),
}


@pytest.mark.parametrize("package", ["attribution", "inversion", "solvers"])
def test_a_number_that_could_be_otherwise_is_a_field(package):
    names = set()
    for path in (PACKAGE / package).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if targets and not isinstance(node.value, (ast.Call, ast.Dict, ast.Set)):
                numbers = [
                    part
                    for part in ast.walk(node.value)
                    if isinstance(part, ast.Constant) and type(part.value) in (int, float)
                ]
                names |= {ast.unparse(target) for target in targets if numbers}
    assert names <= CONSTANTS


FLAT = [
    InvertConfig(),
    InvertConfig(optimiser="lbfgs", steps=7, restarts=3, start="prior", pool=99, spread=0.1),
    InvertConfig(optimiser="adam:0.05:cosine", start="pool", spread=0.5, lanes=3),
    InvertConfig(polish_steps=0, interval_steps=0, stall=0.0, distance="ssim", precision="high"),
    InvertConfig(early_stop=False, space="w", psi=0.7, cutoff=3, noise="none", seed=5),
]


@pytest.mark.parametrize("flat", FLAT)
def test_flat_settings_spell_a_search_and_are_found_again(flat):
    assert flat_settings(flat.search) == flat
    facts = search_facts(flat.search)
    plain = dataclasses.asdict(flat)
    assert facts | {"distance": None} == {
        name: value for name, value in plain.items() if name not in ("seed", "lanes")
    } | {"distance": None}


def test_defaults_are_the_same_however_they_are_given():
    assert as_search(None) == MultiStart() == InvertConfig().search


def test_what_flat_names_cannot_say_is_kept_as_objects():
    search = MultiStart(stopping=settings.Stopping(far=2e-2))
    assert flat_settings(search) is None
    facts = json.loads(json.dumps(search_facts(search)))
    assert facts["search"]["stopping"]["far"] == 2e-2
    assert search_facts(dataclasses.replace(search, seed=3, lanes=settings.Lanes(count=2))) == facts


def test_seed_and_lanes_do_not_count_and_a_distance_counts_by_its_digest():
    search = InvertConfig(distance="ssim").search
    assert search_facts(search)["distance"] == as_distance("ssim").digest
    assert search_facts(dataclasses.replace(search, seed=9)) == search_facts(search)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"solver": "adamm"}, "adam-paper"),
        ({"solver": 3}, "jattr.solvers"),
        ({"warm_start": "linear"}, "Ridge"),
        ({"stopping": {"early": True}}, "Stopping"),
        ({"precision": "double"}, "highest"),
        ({"restarts": 0}, "restarts"),
        ({"psi": 99}, "psi"),
        ({"solver": "lbfgs", "variation": settings.Variation(almost=0.1)}, "no effect"),
        ({"solver": "lbfgs", "ensemble": settings.EnsembleKalman(size=64)}, "no effect"),
        ({"solver": "lbfgs", "two_stage": settings.TwoStage(hit=3.0)}, "no effect"),
        (
            {
                "distance": "ssim",
                "observing": settings.Observing(altered=settings.Altered(floor=2.0)),
            },
            "no effect",
        ),
    ],
)
def test_bad_and_idle_settings_are_one_line(given, message):
    with pytest.raises(InputError, match=message) as caught:
        MultiStart(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: settings.Polish(steps=0, again=0.5),
        lambda: settings.RoundingPolish(jacobians=0, ridge=1e-3),
        lambda: settings.Lanes(count=3, on_cpu=5),
        lambda: InvertConfig(early_stop=False, stall=0.1),
        lambda: settings.Stopping(stall=0.1, far_stall=0.2),
        lambda: settings.Stopping(early=False, far_stall=0.2),
        lambda: MultiStart(restarts=3, automatic=settings.Automatic(many_restarts=64)),
        lambda: MultiStart(restarts=1, variation=settings.Variation(almost=1e-2)),
        lambda: MultiStart(restarts=1, ensemble=settings.EnsembleKalman(size=64)),
        lambda: MultiStart(distance="ssim", two_stage=settings.TwoStage(hit=3.0)),
        lambda: MultiStart(solver="lbfgs", automatic=settings.Automatic(largest_jacobian=1.0)),
        lambda: MultiStart(solver="lbfgs", automatic=settings.Automatic(gradient_solver="bfgs")),
        lambda: MultiStart(solver=solvers.LBFGS(steps=7), steps=9),
        lambda: MultiStart(solver=solvers.LBFGS(stall=0.3), stopping=settings.Stopping(stall=0.1)),
    ],
)
def test_a_number_that_another_one_makes_idle_is_refused(make):
    with pytest.raises(InputError, match="leave one of them away"):
        make()


@pytest.mark.parametrize("jacobians", [1, 5])
def test_jacobians_too_few_to_move_anything_are_refused(jacobians):
    with pytest.raises(InputError, match="at least 6"):
        settings.RoundingPolish(jacobians=jacobians)
    settings.RoundingPolish(jacobians=2, margins=(0.49,))


def test_a_search_with_fewer_restarts_leaves_what_that_makes_idle():
    search = MultiStart(
        automatic=settings.Automatic(few_restarts=5, cheap_jacobian=1.0),
        variation=settings.Variation(almost=1e-2),
    )
    assert search.with_restarts(4).variation == search.variation
    assert search.with_restarts(1) == MultiStart(
        restarts=1, automatic=settings.Automatic(cheap_jacobian=1.0)
    )


def test_the_solvers_of_an_automatic_search_are_fields(toy, own):
    plain = settings.Automatic()
    assert plain.solver_for(4, 1.0) == solvers.LevenbergMarquardt()
    assert plain.polish_solver(10_000) == solvers.GaussNewtonCG()
    shorter = solvers.LevenbergMarquardt(steps=3)
    automatic = settings.Automatic(jacobian_solver=shorter, gradient_solver="bfgs")
    assert automatic.gradient_solver == solvers.BFGS()
    found = invert(toy, own[1], search=dataclasses.replace(QUICK, automatic=automatic))
    assert found.steps[:, 0].max() <= 3
    with pytest.raises(InputError, match="logit_solver"):
        settings.Automatic(logit_solver="adamm")


def test_candidates_begin_where_the_caller_says(toy, own):
    z, pixels = own
    other = make_toy(seed=1, name="other")
    search = dataclasses.replace(QUICK, restarts=1, solver="levenberg-marquardt")
    found = attribute(pixels, [toy, other], search=search, latents0={"toy": z + 0.01})
    assert [verdict.candidates for verdict in found.verdicts] == [("toy",), ("toy",)]
    first = [found.searches[i][0][0].trace[0][1] for i in range(2)]
    assert max(first) < 1e-3  # near from the first step
    reverse = attribute(
        pixels[::-1], [toy, other], search=search, latents0={"toy": z[::-1, None]},
        alterations="none",
    )  # fmt: skip
    assert [verdict.candidates for verdict in reverse.verdicts] == [("toy",), ("toy",)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"latents0": np.zeros((2, 4))}, "dict"),
        ({"latents0": {"toys": np.zeros((2, 4))}}, "did you mean"),
        ({"latents0": {"toy": np.zeros((3, 4))}}, "latents0"),
        (
            {
                "latents0": {"toy": np.zeros((2, 4))},
                "search": MultiStart(warm_start=warm_starts.Pool()),
            },
            "give one of them",
        ),
    ],
)
def test_starts_of_candidates_are_checked(toy, own, given, message):
    with pytest.raises(InputError, match=message):
        attribute(own[1], [toy], **given)


def test_a_stall_without_early_stopping_is_idle():
    with pytest.raises(InputError, match="no restart stops early"):
        settings.Stopping(early=False, stall=0.1)


def test_searches_begin_where_the_caller_says(toy, own):
    z, pixels = own
    near = (z[:, None] + np.array([0.01, 0.02])[None, :, None]).astype(np.float32)
    found = invert(toy, pixels, search=MultiStart(solver="levenberg-marquardt"), latents0=near)
    assert found.z.shape == (2, 2, 4)
    assert found.status[:, 0].tolist() == [Status.ARRIVED] * 2
    assert found.steps[:, 0].max() <= 8
    alone = invert(toy, pixels, search=QUICK, latents0=z)
    assert alone.status[:, 0].tolist() == [Status.ARRIVED] * 2


@pytest.mark.slow
def test_starts_of_ones_own_are_latents_of_a_generator_with_styles_too():
    gen = jattr.load_generator("stylegan2_a")
    z = np.asarray(gen.sample_latent(jax.random.key(0), 1))
    observation = make_observation(gen, np.zeros((1, *gen.image_shape), np.uint8), MultiStart())
    for warm_start, kind in (
        (warm_starts.Ridge(), TwoStageSearch),
        (warm_starts.Given(z[:, None]), OneStageSearch),
        (from_zero, OneStageSearch),
    ):
        search = dataclasses.replace(QUICK, warm_start=warm_start, restarts=1)
        assert type(make_inverter(observation, search, jax.random.key(1))) is kind


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="power of 2"):
        settings.EnsembleKalman(size=100)
    with pytest.raises(InputError, match="size"):
        settings.Pooling(size=-5)


@pytest.mark.parametrize("latents0", [np.zeros((3, 4)), np.zeros((2, 5)), np.zeros((0, 4))])
def test_starts_of_another_shape_are_refused(toy, own, latents0):
    with pytest.raises(InputError, match="latents0"):
        invert(toy, own[1], latents0=latents0)


def test_starts_and_a_warm_start_are_one_too_many(toy, own):
    search = MultiStart(warm_start=warm_starts.Prior())
    with pytest.raises(InputError, match="give one of them"):
        invert(toy, own[1], search=search, latents0=own[0])


def from_zero(gen, images, *, num_restarts, key, pool):
    return np.zeros((len(images), num_restarts, *gen.latent_shape), np.float32)


def test_any_function_is_a_warm_start(toy, own):
    search = dataclasses.replace(QUICK, warm_start=from_zero)
    assert (invert(toy, own[1], search=search).loss.min(1) < 1e-4).all()
    found = attribute(own[1], [toy, make_toy(seed=1, name="other")], search=search)
    assert [verdict.candidates for verdict in found.verdicts] == [("toy",), ("toy",)]


def test_a_warm_start_of_another_shape_is_refused(toy, own):
    search = dataclasses.replace(QUICK, warm_start=lambda *args, **more: np.zeros((1, 1, 4)))
    with pytest.raises(InputError, match="warm start"):
        invert(toy, own[1], search=search)


def test_an_encoder_is_asked_of_a_generator_that_has_one(toy, own):
    search = dataclasses.replace(QUICK, warm_start=warm_starts.Encoder())
    with pytest.raises(InputError, match="has no encoder"):
        invert(toy, own[1], search=search)


CHAIN = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.1))


def test_a_chain_of_three_optax_transformations_searches_and_attributes(toy, own):
    search = dataclasses.replace(QUICK, solver=CHAIN, steps=60)
    assert (invert(toy, own[1], search=search).loss.min(1) < 1e-4).all()
    found = attribute(own[1], [toy, make_toy(seed=1, name="other")], search=search)
    assert [verdict.candidates for verdict in found.verdicts] == [("toy",), ("toy",)]


def test_a_search_by_an_unnamed_function_has_no_key_for_stored_results():
    with pytest.raises(InputError, match="name and version"):
        search_facts(MultiStart(solver=CHAIN))
    named = MultiStart(solver=solvers.Optax(CHAIN, name="mine", version="2"))
    text = json.dumps(search_facts(named))
    assert '"mine"' in text
    assert text != json.dumps(
        search_facts(MultiStart(solver=solvers.Optax(CHAIN, name="mine", version="3")))
    )


def mean_square(a, b):
    return jnp.mean((a - b) ** 2)


def test_any_function_of_two_images_is_a_distance(toy, own):
    found = attribute(
        own[1], [toy, make_toy(seed=1, name="other")], search=QUICK, distance=mean_square
    )
    assert (found.residual[:, 0] < found.residual[:, 1]).all()
    assert as_distance(mean_square) is as_distance(mean_square)
    a, b = jnp.zeros(SHAPE), jnp.full(SHAPE, 0.5)
    assert float(as_distance(mean_square)(a, b)) == pytest.approx(0.25)
    gradient = jax.grad(lambda x: as_distance(mean_square)(x, a))(a)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "wrong", [lambda a, b: (a - b) ** 2, lambda a, b: jnp.int32(3), lambda a, b: "near"]
)
def test_a_distance_that_is_no_number_is_refused(toy, own, wrong):
    with pytest.raises((InputError, jattr.errors.ImageError), match="floating-point"):
        make_observation(toy, own[1], MultiStart(distance=wrong))


def test_functions_are_told_apart_by_name_and_version():
    one, other = (from_function(mean_square, version=version) for version in "12")
    assert one.digest != other.digest


@pytest.mark.parametrize("wrong", [3, ["l2"]])
def test_a_distance_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match="load_distance"):
        as_distance(wrong)


def test_rounds_are_reported(toy, own):
    rounds = []
    search = dataclasses.replace(QUICK, restarts=7)
    invert(toy, np.zeros((1, *SHAPE), np.uint8), search=search, on_round=rounds.append)
    assert [list(round_.restarts) for round_ in rounds] == [[0], [1, 2], [3, 4, 5, 6]]
    assert all(a.evaluations[0] < b.evaluations[0] for a, b in itertools.pairwise(rounds))
    rounds.clear()
    attribute(own[1], [toy, make_toy(seed=1, name="other")], search=QUICK, on_round=rounds.append)
    assert {round_.candidate for round_ in rounds} == {"toy", "other"}
    assert rounds[0].loss.shape == rounds[0].arrived.shape == (2,)


def test_a_calibration_holds_after_its_own_fair_trial(toy, own):
    gens = [toy, make_toy(seed=1, name="other")]
    calibration = calibrate(gens, own=4, others=4, search=QUICK)
    with pytest.raises(InputError, match=r"racing\.fair"):
        attribute(own[1], gens, search=QUICK, calibration=calibration, racing=Racing(fair=5))


def test_racing_takes_other_numbers(toy, own):
    gens = [toy, make_toy(seed=1, name="other")]
    found = attribute(own[1], gens, search=QUICK, racing=Racing(fair=1, compile_threads=1))
    assert [verdict.candidates for verdict in found.verdicts] == [("toy",), ("toy",)]


def test_a_distance_that_is_not_finite_is_no_perfect_reproduction(toy, own):
    def broken(a, b):
        return jnp.mean((a - b) ** 2) * jnp.nan

    with pytest.raises(InputError, match="finite number not below 0"):
        attribute(own[1], [toy], search=QUICK, distance=broken)
    values = [as_distance(lambda a, b, v=v: jnp.float32(v)) for v in (np.nan, -1.0, -1e-7, 0.0)]
    a = jnp.zeros(SHAPE)
    assert [float(value(a, a)) for value in values[2:]] == [0.0, 0.0]
    assert all(np.isnan(float(value(a, a))) for value in values[:2])


@pytest.mark.parametrize("wrong", [lambda a: a, lambda a, b: np.mean(np.asarray(a) - b)])
def test_a_distance_that_cannot_be_computed_is_one_line(toy, own, wrong):
    with pytest.raises(jattr.errors.ImageError, match="cannot be computed") as caught:
        make_observation(toy, own[1], MultiStart(distance=wrong))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [[1], {}, 3])
def test_a_distance_without_hash_is_refused(wrong):
    with pytest.raises(InputError, match="load_distance"):
        as_distance(wrong)


def test_an_unnamed_distance_has_no_key_for_stored_results():
    with pytest.raises(InputError, match="name and version"):
        search_facts(MultiStart(distance=mean_square))
    assert search_facts(MultiStart(distance=from_function(mean_square, version="1")))


class Unhashable:
    __hash__ = None

    def __call__(self, gen, images, *, num_restarts, key, pool):
        return np.zeros((len(images), num_restarts, 4), np.float32)


@pytest.mark.parametrize("wrong", [warm_starts.Ridge, Unhashable(), "pool"])
def test_a_warm_start_is_a_hashable_object_and_no_class(wrong):
    with pytest.raises(InputError, match="warm_start"):
        MultiStart(warm_start=wrong)


@pytest.mark.parametrize("wrong", ["x", 1.0, [[1.0], [1.0, 2.0]], np.zeros((2, 4), complex)])
def test_latents_that_are_none_are_refused(toy, own, wrong):
    with pytest.raises(InputError, match="latents0 is"):
        invert(toy, own[1], latents0=wrong)


def test_given_latents_are_a_copy_and_all_are_used(toy, own):
    latents = np.zeros((2, 3, 4))
    given = warm_starts.Given(latents)
    before = hash(given)
    latents[:] = 1
    assert hash(given) == before
    assert given == warm_starts.Given(np.zeros((2, 3, 4)).tolist())
    with pytest.raises(InputError, match="3 starts of each image"):
        invert(toy, own[1], search=QUICK, latents0=latents)


def test_given_latents_are_of_the_images_and_not_of_pilot_studies(toy):
    noise = np.random.default_rng(0).integers(0, 256, (1, *SHAPE)).astype(np.uint8)
    search = MultiStart(
        pooling=settings.Pooling(size=128), warm_start=warm_starts.Given(np.zeros((1, 4)))
    )
    (verdict,) = attribute(noise, [toy], search=search).verdicts
    assert verdict.candidates == ()


@pytest.mark.parametrize("key", [0, "a", np.zeros(3), jax.random.split(jax.random.key(0))])
def test_a_key_that_is_none_is_refused(toy, own, key):
    with pytest.raises(InputError, match=r"jax\.random\.key"):
        invert(toy, own[1], key=key)
    with pytest.raises(InputError, match=r"jax\.random\.key"):
        attribute(own[1], [toy], key=key)


def test_arguments_of_another_type_are_one_error(toy, own):
    for given in (toy, ["toy"], "toy"):
        with pytest.raises(InputError, match="generator"):
            attribute(own[1], given)
    with pytest.raises(InputError, match="load_generator"):
        invert("toy", own[1])
    with pytest.raises(InputError, match=r"jattr\.Racing"):
        attribute(own[1], [toy], racing=3)
    with pytest.raises(InputError, match=r"jattr\.calibrate"):
        attribute(own[1], [toy], calibration=3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: settings.Stopping(early=False, far_stall=0.3),
        lambda: settings.Pooling(size=64, large=99),
        lambda: MultiStart(
            observing=settings.Observing(by_distance=settings.ByDistance(floor_images=3))
        ),
    ],
)
def test_more_idle_settings(make):
    with pytest.raises(InputError, match=r"no effect|stops early"):
        make()
