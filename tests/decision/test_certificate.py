"""The certificate: valid where the hypothesis holds, and refused where it does not."""

import numpy as np
import pytest
from linear_generator import PIXELS, SIZE, least_squares, make_linear, to_bytes, unrounded

from jattr.attribution.certify import certify_image
from jattr.decision.certificate import ALPHA, MIN_EXCESS, _tail

DRAWS = 1000


def drawn(seed=0, rounding="round", **settings):
    """A generator, a latent, the image it makes there, and the least-squares latent of the
    bytes.
    """
    rng = np.random.default_rng(seed)
    gen = make_linear(rng, **settings)
    z = rng.normal(size=gen.latent_shape).astype(np.float32)
    pixels = to_bytes(unrounded(gen, z), rounding)
    return gen, z, pixels, least_squares(gen, pixels, rounding)


@pytest.mark.slow
def test_p_values_are_valid_where_the_hypothesis_holds():
    """Null draws, each with its own matrix.

    At the true latent and at the least-squares one, p is not too small.

    0.02 allows for 0.01 and three standard errors of 1,000 draws; a quarter of them is also tested
    at the true latent.
    """
    fitted, true = [], []
    for seed in range(DRAWS):
        gen, z, pixels, best = drawn(seed)
        fitted.append(certify_image(gen, best, pixels).p_value)
        if seed % 4 == 0:
            true.append(certify_image(gen, z, pixels).p_value)
    for p in (np.array(fitted), np.array(true)):
        assert (p < 0.01).mean() <= 0.02
        assert (p < 0.1).mean() <= 0.13
        assert (p < 0.5).mean() >= 0.2  # not so cautious that nothing is ever refused
        assert p.min() > ALPHA


@pytest.mark.slow
@pytest.mark.parametrize(("n", "rank"), [(3000, 64), (300, 8), (300, 240), (120, 60)])
def test_tail_is_heavy_enough(n, rank):
    """Sums of squares are skewed, most with few degrees of freedom.

    A normal tail would deny certificates too often.

    Of the draws, at most twice the stated share may have so small a p-value (and four standard
    errors of the count).
    """
    rng = np.random.default_rng(0)
    space = np.linalg.qr(rng.normal(size=(n, rank)))[0].astype(np.float32)
    sums, share = [], 1e-3
    for _ in range(20):
        e = rng.uniform(-0.5, 0.5, (2000, n)).astype(np.float32)
        sums.append(12.0 * (np.square(e).sum(1) - np.square(e @ space).sum(1)))
    sums = np.sort(np.concatenate(sums))[::-1]
    allowed = 2 * share * len(sums)
    assert _tail(float(sums[int(allowed + 4 * np.sqrt(allowed))]), n - rank, n) >= share


def test_statistic_counts_degrees_of_freedom():
    tests = [
        certify_image(gen, best, pixels)
        for gen, _, pixels, best in (drawn(seed, spread=10.0) for seed in range(200))
    ]
    assert {(t.unclipped, t.rank, t.excess) for t in tests} == {(PIXELS, SIZE, PIXELS - SIZE)}
    mean = np.mean([t.statistic for t in tests])
    # four standard errors
    assert mean == pytest.approx(PIXELS - SIZE, abs=4 * np.sqrt(0.8 * PIXELS / 200))


def test_fields_of_an_own_image():
    gen, z, pixels, _ = drawn(1)
    test = certify_image(gen, z, pixels)
    assert test.holds
    assert test.bit_exact
    assert test.identical_bytes == 1.0
    assert test.largest_deviation <= 0.5 + 1e-3
    assert test.rounding == "round"
    assert test.alpha == ALPHA
    assert set(test.to_dict()) >= {"holds", "p_value", "excess", "statistic", "rank", "unclipped"}


def test_bit_exact_and_the_certificate_are_two_things():
    """At the least-squares latent a few bytes differ by one: certified, not bit-exact."""
    found = [(gen, pixels, best) for gen, _, pixels, best in (drawn(seed) for seed in range(10))]
    tests = [certify_image(*(gen, best, pixels)) for gen, pixels, best in found]
    assert all(t.holds for t in tests)
    assert not all(t.bit_exact for t in tests)
    for (gen, pixels, best), t in zip(found, tests, strict=True):
        same = to_bytes(unrounded(gen, best)) == pixels
        # a byte may sit on the edge
        assert t.identical_bytes == pytest.approx(same.mean(), abs=1.5 / PIXELS)
        assert t.bit_exact == (t.identical_bytes == 1.0)


@pytest.mark.parametrize("change", [5, 20, -5, -100])
def test_one_changed_pixel_is_refused(change):
    gen, _, pixels, _ = drawn(2)
    place = tuple(np.argwhere((pixels > 110) & (pixels < 140))[0])
    pixels[place] = np.uint8(int(pixels[place]) + change)
    test = certify_image(gen, least_squares(gen, pixels), pixels)
    assert not test.holds
    assert not test.bit_exact
    # the fit gives way a little
    assert test.largest_deviation == pytest.approx(abs(change), rel=0.05, abs=1.0)


def test_noise_of_one_step_everywhere_is_refused():
    gen, _, pixels, _ = drawn(3)
    noise = np.random.default_rng(0).integers(-1, 2, pixels.shape)
    pixels = (pixels + noise).astype(np.uint8)
    assert certify_image(gen, least_squares(gen, pixels), pixels).p_value < 1e-12


def test_image_of_another_generator_is_refused():
    _, _, pixels, _ = drawn(4)
    other = make_linear(np.random.default_rng(5))
    test = certify_image(other, least_squares(other, pixels), pixels)
    assert not test.holds
    assert test.p_value == 0.0


def test_weights_changed_in_the_third_digit_are_refused():
    gen, _, pixels, _ = drawn(6, spread=40.0)
    factor = 1 + 0.02 * np.random.default_rng(0).normal(size=(SIZE, PIXELS)).astype(np.float32)
    object.__setattr__(gen, "state", gen.state | {"w": gen.state["w"] * factor})
    assert not certify_image(gen, least_squares(gen, pixels), pixels).holds


def test_latent_moved_along_the_jacobian_is_refused():
    """The projection would forgive it; the test of the whole does not."""
    gen, z, pixels, best = drawn(7)
    near, far = certify_image(gen, best, pixels), certify_image(gen, best + 0.5, pixels)
    assert near.holds
    # all of the move lies in the column space
    assert far.statistic == pytest.approx(near.statistic, rel=0.02)
    assert not far.holds
    assert far.p_value < 1e-12
    assert certify_image(gen, z, pixels).holds


@pytest.mark.parametrize(
    ("used", "expected"), [(MIN_EXCESS + SIZE, True), (MIN_EXCESS + SIZE - 1, False)]
)
def test_too_little_excess_is_refused(used, expected):
    """All but `used` pixels are far above the range: their bytes are 255 and tell nothing."""
    gen, z, _, _ = drawn(8)
    object.__setattr__(gen, "state", gen.state | {"b": gen.state["b"].at[used:].set(5.0)})
    pixels = to_bytes(unrounded(gen, z))
    test = certify_image(gen, z, pixels)
    assert (test.unclipped, test.excess, test.holds) == (used, used - SIZE, expected)
    assert test.bit_exact
    assert test.p_value >= ALPHA


def test_all_bytes_clipped_is_refused():
    gen, z, _, _ = drawn(9, middle=5.0)
    test = certify_image(gen, z, to_bytes(unrounded(gen, z)))
    assert (test.holds, test.unclipped, test.excess) == (False, 0, 0)
    assert np.isfinite(test.p_value)


@pytest.mark.parametrize(("value", "beyond", "inside"), [(0, -3.0, -0.9), (255, 3.0, 0.9)])
def test_clipped_bytes_are_one_sided(value, beyond, inside):
    """Beyond the range costs nothing; a value well inside it contradicts the clipped byte."""
    gen, z, _, _ = drawn(10)
    state, holds = gen.state, {}
    for where in (beyond, inside):
        flat = {"b": state["b"].at[:5].set(where), "w": state["w"].at[:, :5].set(0.0)}
        object.__setattr__(gen, "state", flat)
        pixels = to_bytes(unrounded(gen, z)).ravel()
        pixels[:5] = value
        test = certify_image(gen, z, pixels.reshape(gen.image_shape))
        assert test.unclipped == PIXELS - 5
        holds[where] = test.holds
    assert holds == {beyond: True, inside: False}


@pytest.mark.parametrize("rule", ["round", "truncate"])
def test_both_rules_are_tried_where_the_card_does_not_say(rule):
    gen, z, pixels, _ = drawn(11, rounding=rule) if rule == "round" else _truncated(11)
    wrong = {"round": "truncate", "truncate": "round"}[rule]
    test = certify_image(gen, z, pixels)
    assert (test.holds, test.bit_exact, test.rounding) == (True, True, rule)
    assert certify_image(gen, z, pixels, rounding=rule).holds
    assert not certify_image(gen, z, pixels, rounding=wrong).holds


def _truncated(seed):
    rng = np.random.default_rng(seed)
    gen = make_linear(rng, rounding=None)
    z = rng.normal(size=SIZE).astype(np.float32)
    pixels = to_bytes(unrounded(gen, z), "truncate")
    return gen, z, pixels, least_squares(gen, pixels, "truncate")


def test_card_that_states_the_rule_is_obeyed():
    gen, z, pixels, _ = drawn(12)
    object.__setattr__(gen, "rounding", "truncate")
    assert not certify_image(gen, z, pixels).holds


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_latent_that_cannot_be_computed_is_refused(value):
    gen, _, pixels, _ = drawn(13)
    test = certify_image(gen, np.full(SIZE, value, np.float32), pixels)
    assert not test.holds
    assert not test.bit_exact
    assert all(np.isfinite(v) for v in test.to_dict().values() if not isinstance(v, str))


def test_directions_weaker_than_rounding_noise_are_no_rank():
    """A latent that moves the image by less than one byte's noise cannot fit noise away."""
    gen, z, _, _ = drawn(14)
    weak = gen.state["w"].at[0].multiply(1e-4)
    object.__setattr__(gen, "state", gen.state | {"w": weak})
    pixels = to_bytes(unrounded(gen, z))
    test = certify_image(gen, z, pixels)
    assert (test.rank, test.holds) == (SIZE - 1, True)


def test_level_decides():
    gen, _, pixels, best = drawn(15)
    p = certify_image(gen, best, pixels).p_value
    assert certify_image(gen, best, pixels, alpha=p / 2).holds
    assert not certify_image(gen, best, pixels, alpha=min(1.0, p * 1.01)).holds or p == 1.0
