"""Inversion as a pure function, and the driver of many images."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted_compilations
from toys import PIXELS, SHAPE, make_toy, own_images

from jattr.errors import ImageError, InputError
from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert, problem_of
from jattr.inversion.multistart import OneStageSearch
from jattr.inversion.observation.base import Observation
from jattr.inversion.problem import FLOOR, deviation, floors_of, make_problem_fn, target_of
from jattr.inversion.scheduler import Status
from jattr.solvers import METHODS
from jattr.solvers.solve import make_engine, solve

SMALL = InvertConfig(restarts=2, pool=256).search
HERE = Path(__file__).parent


def searching(gen, steps=8):
    return lambda image, z0: solve(
        problem_of(gen, image, prior=None), "levenberg-marquardt", z0, steps=steps
    )


@pytest.mark.slow
def test_core_under_jit_is_the_core_under_vmap(toy, own):
    z, pixels = own
    fn = searching(toy)
    batch = jax.jit(jax.vmap(fn))(pixels, 0.5 * z)
    single = [jax.jit(fn)(pixels[i], 0.5 * z[i]) for i in range(2)]
    np.testing.assert_array_equal(batch.status, Status.ARRIVED)
    # rounding moves the least-squares latent by about 1e-2
    assert np.abs(np.asarray(batch.latent) - z).max() < 0.05
    for i, one in enumerate(single):
        # same program, sums in another order
        np.testing.assert_allclose(one.latent, batch.latent[i], atol=1e-4, rtol=0)
        assert float(one.loss) == pytest.approx(float(batch.loss[i]), rel=1e-3)


@pytest.mark.slow
def test_core_pairs_loss_and_latent(toy, own):
    z, pixels = own
    found = searching(toy, steps=3)(jnp.asarray(pixels[0]), jnp.asarray(0.2 * z[0]))
    made = toy.generate(found.latent[None])[0]
    measured = jnp.mean(jnp.square(deviation(made, target_of(jnp.asarray(pixels[0])))))
    assert float(found.loss) == pytest.approx(float(measured), rel=1e-4)


@pytest.mark.slow
def test_core_isolates_a_lane_that_cannot_be_computed(toy, own):
    z, pixels = own
    starts = 0.5 * z
    starts[1] = np.nan
    found = jax.vmap(searching(toy))(pixels, starts)
    np.testing.assert_array_equal(
        found.status, [Status.ARRIVED, Status.FAILED, Status.ARRIVED, Status.ARRIVED]
    )


SHARDED = """
import dataclasses
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from toys import make_toy, own_images
from jattr import problem_of, solve

toy = make_toy()
z, pixels = own_images(toy, 16)

def search(state, image, z0):
    gen = dataclasses.replace(toy, state=state)
    return solve(problem_of(gen, image, prior=None), "levenberg-marquardt", z0, steps=8)

fn = jax.jit(jax.vmap(search, in_axes=(None, 0, 0)))
one = fn(toy.state, pixels, 0.5 * z)
mesh = Mesh(np.array(jax.devices()), ("lanes",))
split = NamedSharding(mesh, PartitionSpec("lanes"))
whole = NamedSharding(mesh, PartitionSpec())
put = lambda x, s: jax.device_put(x, s)
many = fn(put(toy.state, whole), put(pixels, split), put(0.5 * z, split))
assert len(jax.devices()) == 8, jax.devices()
assert len(many.latent.sharding.device_set) == 8, many.latent.sharding
assert len(one.latent.sharding.device_set) == 1, one.latent.sharding
assert {s.data.shape[0] for s in many.latent.addressable_shards} == {2}
np.testing.assert_array_equal(one.status, 0)
np.testing.assert_array_equal(many.status, 0)
np.testing.assert_allclose(one.latent, many.latent, atol=1e-4, rtol=0)
print("sharded as one")
"""


@pytest.mark.slow
def test_core_over_a_mesh_of_eight_devices_agrees_with_one():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ | flags | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "sharded as one", done.stderr[-3000:]


@pytest.mark.slow
def test_own_images_arrive(toy, own):
    z, pixels = own
    found = invert(toy, pixels, search=SMALL)
    assert found.z.shape == (4, 2, 4)
    best = np.argmin(found.loss, axis=1)
    assert (found.loss[range(4), best] <= 1.2 * FLOOR).all()
    assert np.abs(found.z[range(4), best] - z).max() < 0.05
    assert (found.label == -1).all()


def test_loss_in_the_result_is_that_of_the_latent_in_the_result(toy, own):
    """Also where the interval polish moved the latent after the search."""
    _, pixels = own
    found = invert(toy, pixels, search=SMALL)
    for i, r in np.argwhere(np.isfinite(found.loss)):
        made = toy.generate(found.z[i, r][None])[0]
        measured = float(jnp.mean(jnp.square(deviation(made, target_of(jnp.asarray(pixels[i]))))))
        assert found.loss[i, r] == pytest.approx(measured, rel=1e-3)


def test_same_key_and_lanes_give_the_same_bytes(toy, own):
    first, again = (invert(toy, own[1], search=SMALL, key=jax.random.key(3)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    other = invert(
        toy,
        own[1],
        search=InvertConfig(restarts=2, pool=256, start="prior"),
        key=jax.random.key(4),
    )
    assert other.z.tobytes() != first.z.tobytes()


@pytest.mark.slow
def test_lanes_change_order_and_not_results(toy, own):
    found = [
        invert(toy, own[1], search=InvertConfig(restarts=2, pool=256, lanes=n)) for n in (1, 3, 64)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.status, found[0].status)
        # the interval polish ends anywhere inside
        np.testing.assert_allclose(other.z, found[0].z, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_one_architecture_is_compiled_once(own):
    """Lanes that no other test uses, so that the first generator must compile."""
    config = InvertConfig(restarts=1, pool=256, steps=17, lanes=5).search
    toys = [make_toy(seed=seed, name=f"toy{seed}") for seed in (0, 1, 2)]
    pixels = [own_images(gen, 4)[1] for gen in toys]
    counts = []
    for gen, images in zip(toys, pixels, strict=True):
        with counted_compilations() as compiled:
            invert(gen, images, search=config)
        counts.append(len(compiled))
    assert counts[0] > 0
    assert counts[1:] == [0, 0]


def test_both_forms_of_levenberg_marquardt_are_one_program(toy):
    engines = [
        make_engine(make_problem_fn(toy.apply, toy.latent_shape), METHODS[method], 40, "default")
        for method in ("levenberg-marquardt", "levenberg-marquardt-logit")
    ]
    assert engines[0].advance is engines[1].advance
    assert engines[0].begin is not engines[1].begin


def test_arrived_images_stop_the_rest(toy, own):
    found = invert(toy, own[1], search=InvertConfig(restarts=4, pool=256))
    arrived = np.argmax(found.status == Status.ARRIVED, axis=1)
    assert (found.status == Status.SKIPPED).any(axis=1).all()
    for i, first in enumerate(arrived):
        later = found.status[i] == Status.SKIPPED
        assert not later[: first + 1].any()
        assert np.isinf(found.loss[i][later]).all()
        assert (found.steps[i][later] == 0).all()
    assert (found.evaluations[:, 0] > 0).all()


@pytest.mark.slow
def test_without_early_stop_every_restart_runs(toy, own):
    found = invert(
        toy, own[1][:1], search=InvertConfig(restarts=3, pool=256, steps=6, early_stop=False)
    )
    assert (found.status != Status.SKIPPED).all()
    assert np.isfinite(found.loss).all()


def apply_fenced(state, z, *, label=None):
    # so flat that a search for noise walks far away
    made = jnp.tanh(0.01 * (z @ state["w"]) + state["b"])
    return jnp.where(jnp.max(jnp.abs(z), axis=-1, keepdims=True) < 1.5, made, jnp.nan).reshape(
        -1, *SHAPE
    )


def test_restart_that_diverged_is_reported_as_one_that_ran():
    """A search that leaves for NaN after finite steps keeps its best latent.

    It is not "never ran".
    """
    gen = make_toy(apply=apply_fenced, name="fenced", prior="uniform")
    noise = np.random.default_rng(0).integers(0, 256, (1, *SHAPE)).astype(np.uint8)
    config = InvertConfig(
        optimiser="adam-paper", start="prior", restarts=1, pool=256, polish_steps=0
    ).search
    found = invert(gen, noise, search=config)
    assert np.isfinite(found.loss[0, 0])
    assert found.steps[0, 0] > 0
    assert found.status[0, 0] != Status.SKIPPED


def test_uniform_prior_is_recovered_inside_its_support():
    gen = make_toy(prior="uniform", name="uniform")
    z, pixels = own_images(gen, 4)
    found = invert(gen, pixels, search=SMALL)
    best = found.z[range(4), np.argmin(found.loss, axis=1)]
    assert (found.loss.min(1) <= floors_of(pixels)).all()
    assert np.abs(best - z).max() < 0.05
    assert np.abs(best).max() <= 1.05


@pytest.mark.parametrize("start", ["linear", "pool", "prior"])
def test_every_kind_of_start_arrives(toy, own, start):
    found = invert(toy, own[1], search=InvertConfig(restarts=4, pool=256, start=start))
    assert (found.status == Status.ARRIVED).any(axis=1).all()


@pytest.mark.slow
def test_class_is_recovered():
    gen = make_toy(num_classes=5, name="classes")
    label = np.arange(5, dtype=np.int32)[::-1]
    z, pixels = own_images(gen, 5, label=label)
    found = invert(gen, pixels, search=InvertConfig(restarts=5, pool=256))
    best = np.argmin(found.loss, axis=1)
    np.testing.assert_array_equal(found.label[range(5), best], label)
    assert np.abs(found.z[range(5), best] - z).max() < 0.05


@pytest.mark.slow
def test_thousand_classes_search_no_more_lanes_than_restarts(monkeypatch):
    """The classes are ranked before the search; only the best `restarts` of them are searched."""
    gen = make_toy(num_classes=1000, name="thousand")
    label = np.array([3, 421, 999], np.int32)
    _, pixels = own_images(gen, 3, label=label)
    solved, solve = [], np.linalg.solve
    monkeypatch.setattr("numpy.linalg.solve", lambda a, b: solved.append(len(a)) or solve(a, b))
    inverter = OneStageSearch(
        Observation(gen, pixels), InvertConfig(restarts=4, pool=256).search, jax.random.key(0)
    )
    assert len(solved) <= 100  # one regression a class would be 1,000, each of the whole pool
    for restarts in (range(1), range(1, 2), range(2, 4)):
        inverter.round([i for i in range(3) if not inverter.results.arrived(i)], restarts)
    assert inverter.results.loss.shape == (3, 4)
    best = [inverter.results.best(i) for i in range(3)]
    np.testing.assert_array_equal([inverter.results.label[place] for place in best], label)


@pytest.mark.parametrize("stated", ["truncate", None])
def test_truncated_images_arrive(stated):
    """Also where the card does not say how images are rounded."""
    gen = make_toy(rounding=stated, name="truncated")
    z, pixels = own_images(gen, 3, rounding="truncate")
    inverter = OneStageSearch(Observation(gen, pixels), SMALL, jax.random.key(0))
    inverter.round(range(3), range(1))
    inverter.polish(range(3))
    assert all(inverter.results.arrived(i) for i in range(3))
    assert inverter.rounding == ["truncate"] * 3
    assert (
        np.abs(np.stack([inverter.results.z[inverter.results.best(i)] for i in range(3)]) - z).max()
        < 0.05
    )


def test_rounded_images_are_not_taken_for_truncated(toy, own):
    inverter = OneStageSearch(Observation(toy, own[1]), SMALL, jax.random.key(0))
    inverter.round(range(4), range(1))
    assert inverter.rounding == ["round"] * 4


BAD = [
    ("optimiser", "newton"),
    ("start", "zero"),
    ("precision", "float64"),
    ("space", "y"),
    ("restarts", 0),
    ("noise", "loud"),
    ("psi", 11.0),
    ("cutoff", -1),
    ("restarts", 2.5),
    ("restarts", "8"),
    ("restarts", True),
    ("steps", 0),
    ("steps", 1.5),
    ("pool", -1),
    ("pool", 99.5),
    ("lanes", 0),
    ("lanes", 1.5),
    ("polish_steps", -1),
    ("interval_steps", -1),
    ("stall", 1.5),
    ("stall", np.nan),
    ("noise", -0.1),
    ("noise", float("inf")),
    ("seed", "abc"),
    ("seed", 1.5),
    ("early_stop", "no"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_setting_is_one_line(name, value):
    with pytest.raises(InputError) as caught:
        InvertConfig(**{name: value})
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    assert repr(value) in message


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 5, 6, 3), np.uint8),
        np.zeros(SHAPE, np.uint8),
        np.zeros((0, *SHAPE), np.uint8),
        np.zeros((1, *SHAPE), np.int64),
        np.full((1, *SHAPE), 2.0),
        np.full((1, *SHAPE), np.nan),
    ],
)
def test_bad_images_are_one_line(toy, images):
    with pytest.raises(ImageError) as caught:
        invert(toy, images)
    assert "\n" not in str(caught.value)
    assert str(images.shape) in str(caught.value) or str(images.dtype) in str(caught.value)


def test_float_images_are_rounded_to_bytes(toy, own):
    z, pixels = own
    floats = np.asarray(toy.generate(z))
    np.testing.assert_array_equal(
        invert(toy, floats, search=SMALL).z, invert(toy, pixels, search=SMALL).z
    )
    assert pixels.size == 4 * PIXELS
