import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import SHAPE, make_toy, own_images

from jattr.attacks.evade import EVASIONS, EvadeConfig, evade, farthest
from jattr.attacks.frame import FrameConfig, eps_needed, frame, nearest
from jattr.attacks.pgd import PgdConfig, ball, pgd, sign_noise, to_units
from jattr.attribution.certify import certify_image
from jattr.errors import ImageError, InputError

KEY = jax.random.key(3)


def random_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def largest_change(a, b):
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())


def apply_linear(state, z, *, label=None):
    return (z @ state["w"] + state["b"]).reshape(-1, *SHAPE)


@pytest.fixture(scope="module")
def toy():
    return make_toy()


@pytest.mark.parametrize("eps", [0, 1, 8])
def test_sign_noise_moves_every_byte_by_eps_or_to_the_end_of_the_range(eps):
    pixels = random_images(3)
    made = sign_noise(pixels, eps, key=KEY)
    moved = np.abs(made.astype(int) - pixels)
    assert made.dtype == np.uint8
    assert ((moved == eps) | (made == 0) | (made == 255)).all()
    assert moved.max() <= eps


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0, 1, 4])
def test_pgd_raises_its_loss_and_stays_within_eps(eps):
    pixels = random_images(3)
    direction = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)
    found = jax.jit(lambda x: pgd(lambda x: (x * direction).sum((1, 2, 3)), x, eps, key=KEY))(
        jnp.asarray(pixels)
    )
    low, high = (np.asarray(side) for side in ball(pixels, eps))
    best = np.where(np.asarray(direction) > 0, high, low)  # of a linear loss: the corner
    assert np.asarray(found.pixels).dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(found.pixels), best)
    after = np.sum(
        np.asarray(to_units(jnp.asarray(found.pixels, jnp.float32))) * np.asarray(direction),
        (1, 2, 3),
    )
    np.testing.assert_allclose(np.asarray(found.after), after, rtol=1e-4)
    assert (np.asarray(found.after) > np.asarray(found.before)).all() if eps else True


def test_pgd_never_keeps_nan():
    def loss_fn(x):
        return jnp.where(x.mean((1, 2, 3)) > 0, jnp.nan, 1.0)

    pixels = jnp.asarray(np.full((1, *SHAPE), 127, np.uint8))
    found = pgd(loss_fn, pixels, 4, key=KEY, config=PgdConfig(steps=3))
    assert float(found.after[0]) == 1.0


def test_the_projection_is_what_pgd_finds():
    """The x-step in closed form against ascent on -|x' - g|^2.

    Never worse, and within its last step of 1 byte.
    """
    pixels = random_images(2)
    wanted = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, SHAPE), jnp.float32)

    def loss_fn(x):
        return -jnp.square(x - wanted).sum((1, 2, 3))

    config = PgdConfig(steps=60, step_size=0.5)
    found = jax.jit(lambda x: pgd(loss_fn, x, 8, key=KEY, config=config))(jnp.asarray(pixels))
    low, high = ball(pixels, 8)
    closed = np.round(np.clip((np.asarray(wanted) + 1) * 127.5, low, high)).astype(np.uint8)
    assert largest_change(found.pixels, closed) <= 1
    assert (
        np.asarray(found.after)
        <= np.asarray(loss_fn(to_units(jnp.asarray(closed, jnp.float32)))) + 1e-3
    ).all()


@pytest.mark.slow
def test_frame_of_a_linear_generator_finds_the_least_distance_to_the_ball():
    """The eps-insensitive least squares of a linear map is convex.

    scipy's minimum is the only one.
    """
    from scipy.optimize import minimize

    gen = make_toy(apply=apply_linear)
    pixels = np.clip(random_images(1) // 2 + 64, 1, 254).astype(np.uint8)
    found = frame(
        gen, pixels, 20, key=KEY, config=FrameConfig(restarts=2, steps=5, ball_steps=40, pool=64)
    )
    low, high = (np.asarray(to_units(side)).ravel() for side in ball(pixels[0], 20))
    w, b = np.asarray(gen.state["w"], np.float64), np.asarray(gen.state["b"], np.float64)

    def loss(z):
        made = z @ w + b
        return np.mean((made - np.asarray(nearest(made, low, high))) ** 2)

    best = minimize(loss, np.zeros(4), method="BFGS", tol=1e-10).fun
    assert largest_change(found.pixels, pixels) <= 20
    # the search has a weak prior
    assert loss(found.z[0].astype(np.float64)) == pytest.approx(best, rel=0.02)
    assert found.residual[0] >= best * 0.999 - 1e-6


@pytest.mark.parametrize("eps", [0, 1, 8])
def test_frame_stays_within_eps_and_gets_closer_with_it(toy, eps):
    pixels = random_images(2)
    config = FrameConfig(restarts=4, steps=10, ball_steps=10, pool=64)
    found, untouched = (frame(toy, pixels, e, key=KEY, config=config) for e in (eps, 0))
    assert found.pixels.dtype == np.uint8
    assert largest_change(found.pixels, pixels) <= eps
    assert (found.residual <= untouched.residual * 1.001).all()
    assert (untouched.residual > 1e-2).all()
    assert (found.needed > 8).all()


@pytest.mark.slow
def test_an_image_within_eps_of_the_range_gets_a_certificate(toy):
    """What a certificate does not exclude: the framed image is one of the generator's own then."""
    z, own = own_images(toy, 2)
    pixels = sign_noise(own, 3, key=KEY)
    found = frame(
        toy, pixels, 3, key=KEY, config=FrameConfig(restarts=8, steps=20, ball_steps=30, pool=64)
    )
    assert largest_change(found.pixels, pixels) <= 3
    assert (found.residual < 1e-5).all()
    for image, z in zip(found.pixels, found.z, strict=True):
        assert certify_image(toy, z, image).holds


def test_eps_needed():
    distance = np.full(100, 10.0)
    assert eps_needed(distance, 1e-3) == 6  # (4 / 127.5)^2 = 9.8e-4
    assert eps_needed(0 * distance, 1e-3) == 0
    assert eps_needed(distance + 1e3, 1e-3) == 256


@pytest.mark.slow
@pytest.mark.parametrize("method", EVASIONS)
def test_evasion_stays_within_eps_and_its_residual_grows(toy, method):
    z, own = own_images(toy, 2)
    config = EvadeConfig(method=method, unrolled_steps=2, pgd=PgdConfig(steps=5), pool=64)
    found = [evade(toy, z, own, eps, key=KEY, config=config) for eps in (0, 2, 6)]
    for eps, one in zip((0, 2, 6), found, strict=True):
        assert one.pixels.dtype == np.uint8
        assert largest_change(one.pixels, own) <= eps
        assert (one.residual <= one.true_residual).all()
    assert (found[0].residual < found[1].residual).all()
    assert (found[1].residual < found[2].residual).all()


@pytest.mark.slow
def test_the_orthogonal_attack_beats_random_signs_and_keeps_its_bound(toy):
    z, own = own_images(toy, 2)
    assert own.min() > 0
    assert own.max() < 255  # a clipped byte may go beyond the bound
    best, noise = (
        evade(toy, z, own, 4, key=KEY, config=EvadeConfig(method=m))
        for m in ("orthogonal", "noise")
    )
    assert (best.residual > noise.residual).all()
    assert (best.true_residual <= best.bound).all()


def test_sweeps_never_lower_the_orthogonal_part():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40)).astype(np.float32) + np.float32([[1], [-1]])
    columns = np.linalg.qr(rng.normal(size=(40, 6)))[0].astype(np.float32)

    def part(chosen):
        d = np.where(chosen, a, b)
        return float(np.sum((d - columns @ (columns.T @ d)) ** 2))

    parts = [part(np.asarray(farthest(a, b, columns, sweeps))) for sweeps in range(6)]
    assert all(after >= before - 1e-4 for before, after in itertools.pairwise(parts))


def test_refusals(toy):
    z, own = own_images(toy, 1)
    with pytest.raises(InputError, match="whole number of bytes"):
        frame(toy, own, 256, key=KEY)
    with pytest.raises(ImageError, match="uint8"):
        frame(toy, own.astype(np.float32), 4, key=KEY)
    with pytest.raises(InputError, match="latents are"):
        evade(toy, z[:, :2], own, 4, key=KEY)
    with pytest.raises(InputError, match="one of orthogonal"):
        EvadeConfig(method="magic")
    with pytest.raises(InputError, match="step_size"):
        PgdConfig(step_size=0.0)
