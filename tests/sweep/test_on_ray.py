"""What is refused before a Ray cluster is reached; test_ray.py has the cluster."""

import pickle
import sys

import pytest

from jattr.errors import InputError
from jattr.sweep import on_ray
from jattr.sweep.cells import make_plan
from jattr.sweep.spec import Pictures, Spec, grid


@pytest.fixture
def spec(tiny_folders):
    return Spec(
        candidates=(str(tiny_folders["tiny"]), str(tiny_folders["tiny_b"])),
        pictures=(Pictures(kind="own", count=4),),
        settings=grid({"restarts": [1, 2], "pool": [64]}),
        block=2,
    )


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"jattr\[ray\]"):
        on_ray.make_executor()


def test_a_worker_with_another_generator_refuses(spec):
    facts = pickle.dumps((make_plan(spec).spec, {"tiny": "0"}, {}))
    with pytest.raises(InputError, match="make them the same"):
        on_ray.compute_number(facts, 0)
