"""Threads are part of what a store states of its results."""

import os

import pytest

from jattr.errors import InputError
from jattr.sweep import run
from jattr.sweep.cells import run_facts
from jattr.sweep.run import resume_sweep, run_sweep
from jattr.sweep.spec import Pictures, Spec, grid
from jattr.sweep.threads import num_threads, thread_variables

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, CORES),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": str(CORES), "OPENBLAS_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "0"}, 1),
        ({"OMP_NUM_THREADS": "100000"}, CORES),
        ({"OMP_NUM_THREADS": "many"}, CORES),
        ({"OMP_NUM_THREADS": "-1"}, CORES),
    ],
)
def test_threads_are_those_that_the_environment_allows(environment, threads):
    assert num_threads(environment) == threads


def test_a_process_that_is_given_the_variables_has_as_many():
    assert num_threads(thread_variables()) == num_threads()


@pytest.mark.parametrize(
    ("fact", "words"), [("threads", "set OMP_NUM_THREADS"), ("devices", "use as many devices")]
)
def test_a_store_that_was_begun_with_another_number_is_refused(
    tiny_folders, tmp_path, monkeypatch, fact, words
):
    spec = Spec(
        candidates=(str(tiny_folders["tiny"]),),
        pictures=(Pictures(kind="own", count=1),),
        settings=grid({"restarts": [1], "pool": [64]}),
    )
    run_sweep(spec, tmp_path / "out")
    monkeypatch.setattr(run, "run_facts", lambda: run_facts() | {fact: "77"})
    with pytest.raises(InputError, match=f"was begun with {fact} [0-9]+, this is 77; .*{words}"):
        resume_sweep(tmp_path / "out")
