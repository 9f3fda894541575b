"""Eight devices find what one finds: JAX is told that the processor is eight."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder, results = tmp_path_factory.mktemp("devices"), {}
    paths = os.pathsep.join(
        [str(HERE.parents[1]), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    )
    for count in (1, 8):
        flags = f"--xla_force_host_platform_device_count={count}"
        out = folder / f"{count}.npz"
        env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, str(HERE / "many_devices.py"), str(out)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results[count] = dict(np.load(out))
        assert results[count]["devices"] == count
    return results


def test_loss_and_gradient_are_the_same(found):
    one, eight = found[1], found[8]
    np.testing.assert_allclose(eight["loss"], one["loss"], rtol=1e-5)
    scale = np.linalg.norm(one["gradient"], axis=1, keepdims=True)
    assert (np.abs(eight["gradient"] - one["gradient"]) <= 1e-5 * scale).all()


def test_verdicts_and_certified_latents_are_the_same(found):
    one, eight = found[1], found[8]
    assert list(one["verdicts"]) == list(eight["verdicts"])
    assert (one["certified"] == eight["certified"]).all()
    assert one["certified"].sum() >= 36
    for image in np.flatnonzero(one["certified"]):
        name = "z0" if "tiny (" in str(one["verdicts"][image]) else "z1"
        np.testing.assert_allclose(eight[name][image], one[name][image], atol=1e-3)


def test_nothing_is_traced_again_for_another_generator_of_one_shape(found):
    assert found[1]["recompiled"] == found[8]["recompiled"] == 0
