"""Names of types that the whole tree uses."""

from typing import Any, TypeAlias

# Arrays in nested tuples, lists, dictionaries and dataclasses that JAX knows: weights, latents, the
# carry of a loop. Python's types cannot say it, so nothing but its readers checks it.
PyTree: TypeAlias = Any

# A value that JSON can hold. Code that reads one checks what it uses.
Json: TypeAlias = Any
JsonObject: TypeAlias = dict[str, Json]
