"""Cells on a local Ray cluster, whose workers are killed in the middle of one."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import optax
import pytest

from jattr.errors import InputError
from jattr.solvers import Optax
from jattr.sweep import on_ray
from jattr.sweep.run import run_sweep
from jattr.sweep.spec import Pictures, Spec, grid
from jattr.sweep.store import open_for_reading

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def spec(tiny_folders):
    return Spec(
        candidates=(str(tiny_folders["tiny"]), str(tiny_folders["tiny_b"])),
        pictures=(Pictures(kind="own", count=4),),
        settings=grid({"restarts": [1, 2], "pool": [64]}),
        block=2,
    )


# before the cluster of the others: a process has one
def test_a_cluster_that_is_not_there(spec, tmp_path):
    with pytest.raises(InputError, match="cannot reach a Ray cluster"):
        run_sweep(spec, tmp_path / "out", executor=on_ray.make_executor("127.0.0.1:1"))


@pytest.fixture(scope="module")
def local_ray():
    paths = [str(path) for path in (os.getcwd(), os.path.join(os.getcwd(), "tests"))]
    options = {"log_to_driver": False, "include_dashboard": False, "logging_level": "error"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))
        ray.init(address="local", num_cpus=2, **options)
        yield
        ray.shutdown()


@pytest.mark.filterwarnings("default")
def test_a_killed_worker_costs_nothing_but_time(spec, local_ray, tmp_path):
    """And its tables are those that this process computes alone."""
    killed, over = [], threading.Event()

    def kill():
        while not (killed or over.is_set()):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    # a worker in the middle of a cell
                    if path.read_bytes().startswith(b"ray::compute_number"):
                        os.kill(int(path.parent.name), signal.SIGKILL)
                        killed.append(path.parent.name)
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        ran = run_sweep(spec, tmp_path / "ray", executor=on_ray.make_executor())
    finally:
        over.set()
        killer.join()
    assert killed
    assert ran.counts == {"cells": 16, "done": 16, "failed": 0, "left": 0}
    assert ran.computed == 16
    run_sweep(spec, tmp_path / "here")
    with open_for_reading(tmp_path / "here") as here, open_for_reading(tmp_path / "ray") as there:
        assert here.meta()["run"] == there.meta()["run"]
        for name in ("restarts", "pictures"):
            assert here.table(name) == there.table(name)
        for cell in range(16):
            assert here.array(cell, "z").tobytes() == there.array(cell, "z").tobytes()


@pytest.mark.filterwarnings("default")
def test_a_users_optimiser_and_start_run_in_workers(tiny_folders, local_ray, tmp_path):
    """A chain of three and a closure, of no module that a worker could import."""
    chain = optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale_by_learning_rate(0.05)
    )
    solver = Optax(chain, steps=30, name="clipped adam", version="1")

    def start(gen, images, *, num_restarts, key, pool):
        return np.zeros((len(images), num_restarts, *gen.latent_shape), np.float32)

    start.name, start.version = "mean", "1"
    spec = Spec(
        candidates=(str(tiny_folders["tiny"]),),
        pictures=(Pictures(kind="own", count=2),),
        settings=grid({"solver": [solver], "warm_start": ["prior", start], "restarts": [1]}),
    )
    ran = run_sweep(spec, tmp_path / "ray", executor=on_ray.make_executor())
    assert ran.counts == {"cells": 2, "done": 2, "failed": 0, "left": 0}
    run_sweep(spec, tmp_path / "here")
    with open_for_reading(tmp_path / "here") as here, open_for_reading(tmp_path / "ray") as there:
        assert here.table("restarts") == there.table("restarts")
