"""How many lanes a program has: few different numbers of them, and fewer when memory runs out."""

import logging

import jax
import numpy as np
import pytest

from jattr.inversion import scheduler as programs
from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert
from jattr.inversion.scheduler import lanes_of_a_device
from jattr.solvers.solve import make_engine


def test_few_sizes_of_programs_on_cpu():
    assert [lanes_of_a_device(jobs, 6, few_jobs=2) for jobs in (1, 2, 3, 6, 50)] == [1, 1, 6, 6, 6]


class FailsAtFirst:
    """Stands in for `make_engine`; the first calls of `advance` run out of memory."""

    def __init__(self, times, message):
        self.left, self.message, self.lanes = times, message, []
        self.make = make_engine

    def __call__(self, *args):
        engine = self.make(*args)

        def advance(state, prior, target, label, carry):
            self.lanes.append(len(carry.loss))
            if self.left:
                self.left -= 1
                raise jax.errors.JaxRuntimeError(self.message)
            return engine.advance(state, prior, target, label, carry)

        return engine._replace(advance=advance)


OUT = "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes"


@pytest.mark.slow
def test_out_of_memory_halves_the_lanes_and_says_so(toy, own, monkeypatch, caplog):
    config = InvertConfig(restarts=1, pool=256, lanes=4).search
    expected = invert(toy, own[1], search=config)
    engine = FailsAtFirst(2, OUT)
    monkeypatch.setattr(programs, "make_engine", engine)
    with caplog.at_level(logging.WARNING, logger="jattr"):
        found = invert(toy, own[1], search=config)
    assert engine.lanes[:3] == [4, 2, 1]
    assert ["2 lanes" in caplog.messages[0], "1 lanes" in caplog.messages[1]] == [True, True]
    assert "'toy'" in caplog.messages[0]
    np.testing.assert_array_equal(found.status, expected.status)
    np.testing.assert_allclose(found.z, expected.z, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("lanes", "message"), [(1, OUT), (4, "INTERNAL: something else")])
def test_errors_that_fewer_lanes_do_not_help_are_raised(toy, own, monkeypatch, lanes, message):
    monkeypatch.setattr(programs, "make_engine", FailsAtFirst(1, message))
    with pytest.raises(jax.errors.JaxRuntimeError, match=message.split(":")[0]):
        invert(toy, own[1], search=InvertConfig(restarts=1, pool=256, lanes=lanes))


def test_results_do_not_depend_on_what_ran_before(toy, own):
    config = InvertConfig(restarts=2, pool=256, early_stop=False).search
    before = invert(toy, own[1], search=config)
    invert(toy, own[1][:1], search=config)  # compiles the program of one lane
    after = invert(toy, own[1], search=config)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
