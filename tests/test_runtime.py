import jax
import jax.numpy as jnp
import pytest

from jattr import runtime as memory_maps


@pytest.mark.slow
def test_programs_are_dropped_when_maps_run_out_and_come_back(monkeypatch, tmp_path):
    made = []

    @jax.jit
    def double(x):
        made.append(x.shape)
        return x + x

    double(jnp.ones(3))
    assert not memory_maps.spare_memory_maps()
    monkeypatch.setattr(memory_maps, "LIMIT", tmp_path / "limit")
    (tmp_path / "limit").write_text("100\n")
    assert memory_maps.spare_memory_maps()
    assert float(double(jnp.ones(3))[0]) == 2
    assert len(made) == 2  # traced again


def test_a_system_that_does_not_say_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_maps, "MAPS", tmp_path / "none")
    assert not memory_maps.spare_memory_maps()
