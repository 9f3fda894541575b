"""What every distance must be: tests made from the registry, so that a new entry is tested too."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from feature_files import random_network

from jattr.distances import DISTANCES, NETWORKS, features, load_distance, lpips, weighted
from jattr.distances.networks import Sized, network_of
from jattr.errors import InputError

ALEX = random_network("lpips-alex")
CASES = {
    **DISTANCES,
    "features": lambda: features(ALEX, layer="relu2"),
    "lpips": lambda: lpips(ALEX),
    "weighted": lambda: weighted(
        (load_distance("l2"), 2.0),
        (load_distance("ssim"), 0.5),
        (features(ALEX, layer="relu1"), 0.1),
    ),
}
SIZED = {
    name: random_network(name) for name, network in NETWORKS.items() if isinstance(network, Sized)
}
CASES |= {name: lambda network=network: features(network) for name, network in SIZED.items()}
SMOOTH = {"l2", "multiscale", "features", "lpips", *SIZED}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """The name of each case."""
    return request.param


@pytest.fixture(scope="module")
def distance(case):
    """Each distance in its default setting."""
    return CASES[case]()


@pytest.fixture(scope="module")
def images(images, case):
    """Images that the distance takes: of any size, or of its own only."""
    side = network_of(case, SIZED[case].variant).only if case in SIZED else None
    return images[:, :side, :side]


jit_apply = jax.jit(lambda apply, state, a, b: apply(state, a, b), static_argnums=0)


def residual(distance, a, b):
    return jit_apply(distance.apply, distance.state, a, b)


def test_the_registry_is_covered():
    assert set(DISTANCES) <= set(CASES)


@pytest.mark.slow
@pytest.mark.usefixtures("few_optimisations")
def test_value_is_the_mean_square_of_the_residual(distance, images):
    found = residual(distance, *images[:2])
    assert (found.ndim, found.dtype) == (1, jnp.float32)
    value = distance(*images[:2])
    assert (value.shape, value.dtype) == ((), jnp.float32)
    assert np.isclose(value, np.mean(np.float64(found) ** 2), rtol=1e-5)  # sums of float32


@pytest.mark.slow
@pytest.mark.usefixtures("few_optimisations")
def test_equal_images_are_at_0_and_others_further(distance, images):
    a, b = images[:2]
    near, far = a + 0.2 * (b - a), a + 0.6 * (b - a)
    assert distance(a, a) <= 1e-12  # one program may sum the features of both in different orders
    assert 0 < distance(near, a) < distance(far, a)


@pytest.mark.slow
@pytest.mark.usefixtures("few_optimisations")
def test_jit_and_vmap_change_nothing(distance, images):
    one_by_one = [distance(a, b) for a, b in itertools.pairwise(images)]
    many = jax.jit(jax.vmap(lambda a, b: jnp.mean(jnp.square(residual(distance, a, b)))))(
        images[:3], images[1:]
    )
    assert np.allclose(many, one_by_one, rtol=1e-5)  # sums in another order


@pytest.mark.slow
@pytest.mark.usefixtures("few_optimisations")
def test_gradients(distance, images):
    gradient_of = jax.jit(jax.grad(distance))
    push = jax.jit(lambda x, b, v: jax.jvp(lambda x: residual(distance, x, b), (x,), (v,)))
    a, b = images[:2]
    flat = jnp.full_like(a, 0.25)  # no texture: variances are 0
    for image in (a, flat):  # where images are equal
        assert jnp.abs(gradient_of(image, image)).max() <= 1e-6
        assert np.isfinite(push(image, image, b)[1]).all()
    for strange in (np.sign(a), 2 * a, 0 * a):  # reproductions are not clipped
        assert np.isfinite(gradient_of(strange, a)).all()
    gradient = gradient_of(a, b)
    found, moved = push(a, b, b)
    # sums in another order
    assert np.isclose(2 * jnp.mean(found * moved), jnp.vdot(gradient, b), rtol=1e-3)
    steep = gradient / jnp.linalg.norm(gradient)  # along it differences are far above rounding
    rise = (distance(a + 0.05 * steep, b) - distance(a - 0.05 * steep, b)) / 0.1
    # curvature, and ReLUs that switch on the way
    assert np.isclose(rise, jnp.vdot(gradient, steep), rtol=0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("few_optimisations")
def test_encoding_the_image_first_changes_nothing(distance, images):
    a, b = images[:2]
    assert (distance.encode is None) == (distance.compare is None)
    if distance.encode is not None:
        code = jax.jit(distance.encode)(distance.state, b)
        found = jax.jit(distance.compare)(distance.state, a, code)
        assert np.allclose(found, residual(distance, a, b), atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("few_optimisations")
def test_distances_of_a_kind_share_their_functions(case, images):
    first, second = CASES[case](), CASES[case]()
    assert first.apply is second.apply
    assert (first.encode, first.compare) == (second.encode, second.compare)
    assert first.digest == second.digest
    traces = []
    traced = jax.jit(lambda state, a, b: traces.append(0) or first.apply(state, a, b))
    for each in (first, second):
        traced(each.state, *images[:2])
    assert len(traces) == 1


def test_digests_tell_distances_apart():
    others = [
        load_distance("huber:0.5"),
        load_distance("multiscale:2"),
        load_distance("l2*1+ssim*0.5"),
        load_distance("l2*2+ssim*0.5"),
        DISTANCES["ssim"](sigma=2.0),
        features(ALEX, layer="relu5"),
        lpips(random_network("lpips-alex", seed=1)),
    ]
    digests = [distance.digest for distance in (*(make() for make in CASES.values()), *others)]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 for digest in digests)


def test_those_with_square_roots_say_so():
    assert {name for name, make in CASES.items() if make().smooth_squares} == SMOOTH


@pytest.mark.slow
@pytest.mark.usefixtures("few_optimisations")
def test_a_weighted_sum_is_the_sum():
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 36, 33, 3)).astype(np.float32)
    parts = [
        (load_distance("l2"), 2.0),
        (load_distance("huber"), 0.25),
        (features(ALEX, layer="relu1"), 3.0),
    ]
    assert np.isclose(
        weighted(*parts)(a, b), sum(weight * each(a, b) for each, weight in parts), rtol=1e-5
    )
    nested = weighted((weighted(*parts), 2.0), (parts[0][0], 1.0))
    assert np.isclose(nested(a, b), 2 * weighted(*parts)(a, b) + parts[0][0](a, b), rtol=1e-5)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_are_refused(weight):
    with pytest.raises(InputError, match="finite number above 0"):
        weighted((load_distance("l2"), weight))


def test_a_sum_of_nothing_is_refused():
    with pytest.raises(InputError, match="no parts"):
        weighted()


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (np.zeros((8, 8, 3), np.float32), np.zeros((8, 9, 3), np.float32), "of one shape"),
        (np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 3), np.float32), "jax.vmap"),
        (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), "value / 127.5 - 1"),
    ],
)
def test_pairs_that_are_refused(a, b, text):
    with pytest.raises(InputError, match=text):
        load_distance("l2")(a, b)
