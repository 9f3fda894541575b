"""How many programs JAX compiles inside a block."""

import contextlib

import jax


@contextlib.contextmanager
def counted_compilations():
    """Give a list that grows by one for every program that is compiled inside."""
    compiled = []

    def listen(name, *_, **__):
        if name.endswith("backend_compile_duration"):
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.clear_event_listeners()
