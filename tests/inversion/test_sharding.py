"""`solve` over a mesh of the caller's own: JAX is told that the processor is four devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHARDED = """
import dataclasses
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from toys import make_toy, own_images
import jattr

toy = make_toy()
z, pixels = own_images(toy, 8)

def search(state, image, start):
    problem = jattr.problem_of(dataclasses.replace(toy, state=state), image)
    return jattr.solve(problem, "levenberg-marquardt", start, steps=30)

many = jax.vmap(search, in_axes=(None, 0, 0))

mesh = jax.sharding.Mesh(np.array(jax.devices()), ("lanes",))
assert mesh.size == 4
lanes, whole = NamedSharding(mesh, P("lanes")), NamedSharding(mesh, P())
given = jnp.asarray(pixels), jnp.asarray(0.5 * z)
one = jax.jit(many)(toy.state, *given)
put = jax.device_put(toy.state, whole), *jax.device_put(given, lanes)
by_map = jax.shard_map(
    many, mesh=mesh, in_specs=(P(), P("lanes"), P("lanes")), out_specs=P("lanes"), check_vma=False
)
np.testing.assert_array_equal(one.status, 0)
for found in (jax.jit(by_map)(*put), jax.jit(many)(*put)):
    assert len(found.latent.sharding.device_set) == 4, found.latent.sharding
    assert {shard.data.shape[0] for shard in found.latent.addressable_shards} == {2}
    np.testing.assert_array_equal(found.status, 0)
    np.testing.assert_allclose(found.latent, one.latent, atol=1e-4, rtol=0)
print("sharded as one")
"""


@pytest.mark.slow
def test_a_sharded_batch_finds_what_one_device_finds():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ | flags | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "sharded as one", done.stderr[-3000:]
