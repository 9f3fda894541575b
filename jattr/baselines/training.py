"""The training loop that the learnt baselines share.

AdamW, its rate rising from 0 and falling by a cosine to 0.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jattr.typing import PyTree

LossFn = Callable[..., jax.Array]  # (state, *batch of each array) -> [], mean over the batch


class Schedule(Protocol):
    """Settings of a training."""

    @property
    def epochs(self) -> int:
        """Times that every example is seen."""

    @property
    def batch(self) -> int:
        """Examples in one step."""

    @property
    def rate(self) -> float:
        """Of Adam, at its highest."""

    @property
    def warmup(self) -> int:
        """Steps in which the rate rises from 0."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""


class Trained(NamedTuple):
    """What a training gives."""

    state: PyTree
    losses: np.ndarray  # [epochs], mean loss


def fit_state(
    loss_fn: LossFn,
    state: PyTree,
    arrays: Sequence[np.ndarray],
    order_keys: jax.Array,
    schedule: Schedule,
) -> Trained:
    """Return the state after training, the same for the same keys.

    Args:
      loss_fn: mean loss of a batch; one object for each architecture, so that the step is compiled
        once.
      state: the network's, donated.
      arrays: examples, each [n, ...].
      order_keys: [epochs], of the order of examples.
      schedule: settings.
    """
    count = len(arrays[0])
    batch = min(schedule.batch, count)
    steps = count // batch
    total = schedule.epochs * steps
    optimiser, step = _make_step(
        loss_fn, schedule.rate, schedule.warmup, schedule.weight_decay, total
    )
    moments, losses = optimiser.init(state), []
    for key in order_keys:
        order = np.asarray(jax.random.permutation(key, count))[: steps * batch]
        step_losses = []
        for some in order.reshape(steps, batch):
            state, moments, loss = step(state, moments, *(array[some] for array in arrays))
            step_losses.append(loss)
        losses.append(float(np.mean([np.asarray(loss) for loss in step_losses])))
    return Trained(state, np.array(losses))


@functools.lru_cache(maxsize=16)
def _make_step(
    loss_fn: LossFn, rate: float, warmup: int, weight_decay: float, steps: int
) -> tuple[optax.GradientTransformation, Callable[..., PyTree]]:
    """Return the optimiser and its step.

    One for each training of one length, so that it is compiled once.
    """
    warmup = min(warmup, steps // 4)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if warmup else rate, rate, warmup, max(1, steps)
    )
    optimiser = optax.adamw(schedule, weight_decay=weight_decay)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(state: PyTree, moments: PyTree, *arrays: jax.Array) -> Any:
        loss, gradient = jax.value_and_grad(loss_fn)(state, *arrays)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats inside
            updates, moments = optimiser.update(gradient, moments, state)
        return optax.apply_updates(state, updates), moments, jnp.asarray(loss)

    return optimiser, step
