"""Candidates: generators that are loaded together and checked against each other."""

from collections.abc import Sequence

from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.generators.names import check_candidate_names
from jattr.generators.store import find_generator, load_generator


def load_candidates(paths: Sequence[str], *, resize: bool) -> list[Generator]:
    """Return the candidates, checked against each other.

    Raises:
      InputError: one cannot be read, two have names that are one or look alike, or their sizes
        differ without `--resize`.
    """
    for path in paths:
        find_generator(path)  # says what is missing before any is loaded
    generators: list[Generator] = []
    for path in paths:
        gen = load_generator(path)
        if gen.name in [other.name for other in generators]:
            raise InputError(
                f"two candidates are called {gen.name!r}, the second one is {path!r}; leave one"
                ' out, or give it another "name" in its card.json'
            )
        generators.append(gen)
    check_candidate_names([gen.name for gen in generators])
    sizes = {gen.name: f"{gen.image_shape[0]}x{gen.image_shape[1]}" for gen in generators}
    if not resize and len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} ({name})" for name, size in sizes.items())
        raise InputError(
            f"the candidates make images of different sizes: {listed}; pass --resize to allow that"
        )
    return generators
