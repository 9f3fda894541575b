"""Candidates of a verification, against what the result states of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jattr.attribution.other_settings import view_name
from jattr.attribution.result_json import candidate_record
from jattr.bounded_json import read_json_text
from jattr.errors import CardError, GeneratorError, InputError
from jattr.folders import AnyPath
from jattr.generators.base import Generator
from jattr.generators.settings import NOISE
from jattr.generators.store import find_generator, load_generator
from jattr.typing import Json
from jattr.verification.report import Report, holding
from jattr.verification.result_folder import SavedResult


def load_candidates(
    saved: SavedResult, given: Sequence[Generator | AnyPath], report: Report
) -> dict[str, Generator]:
    """Return the candidates by their names in the result, without those that differ from it.

    Those are reported.

    Args:
      saved: the result.
      given: generators, or where they are loaded from.
      report: gets the differences, and what cannot be checked.

    Raises:
      InputError: one cannot be used, is none of the result, or is needed and was not given.
    """
    stated = {candidate["name"]: candidate for candidate in saved.data["candidates"]}
    candidates: dict[str, Generator] = {}
    changed: set[str] = set()
    names: dict[str, set[str]] = {}  # of those that were given, by digest
    for source in given:
        if isinstance(source, Generator):
            gen: Generator | None = source
        else:
            gen, name = _load_candidate(source, stated, report)
        if gen is None:
            changed.add(name)
            continue
        names.setdefault(gen.digest, set()).add(gen.name)
        same = [name for name, candidate in stated.items() if candidate["digest"] == gen.digest]
        candidates |= {name: _viewed(gen, stated[name]) for name in same}
        if not same:
            where = gen.name if isinstance(source, Generator) else os.fspath(source)
            report.differences.append(_other_model(where, gen, stated))
            changed.add(gen.name)
    for name, gen in candidates.items():
        lines = _record_differences(stated[name], gen, names[gen.digest])
        report.differences += [f"candidate {name!r}: {line}" for line in lines]
    needed = {name for row in saved.data["pictures"] for name in holding(row)}
    missing = sorted(needed - set(candidates) - changed)
    if missing and not (changed - set(stated)):
        raise InputError(
            f"certificates name {', '.join(map(repr, missing))}; give them with --candidates"
        )
    left = [name for name in stated if name not in candidates]
    report.unchecked += [
        f"what rests on candidate {name!r}, which was not given as it was searched" for name in left
    ]
    return candidates


def _other_model(path: str, gen: Generator, stated: Mapping[str, Json]) -> str:
    """Return how a candidate differs from the one of its name.

    Raises:
      InputError: there is none of its name.
    """
    if gen.name not in stated:
        raise InputError(
            f"{path!r} is generator {gen.name!r}, no candidate of the result; leave it away"
        )
    what = (
        "weights" if stated[gen.name]["weights_digest"] != gen.weights_digest else "card's settings"
    )
    return f"candidate {gen.name!r}: its {what} are not those of the result (digest differs)"


def _record_differences(stated: Mapping[str, Json], gen: Generator, names: set[str]) -> list[str]:
    """Return one line for each field of a candidate's record that is not so, but for its path."""
    record = candidate_record(gen)
    # of one model searched under several psi
    psi = "" if gen.settings is None else f" psi {gen.settings.psi:g}"
    legal = names | {name + psi for name in names}
    if gen.settings is not None:  # or tried under other settings than those searched first
        legal |= {view_name(name, gen) for name in legal}
    lines = []
    if stated["name"] not in legal:
        lines.append(
            f"the given model of its digest is called {', '.join(map(repr, sorted(names)))}"
        )
    # the latents hold noise maps, too
    searched = gen.settings is not None and not reproducible(stated)
    for name in (
        record.keys()
        - {"name", "path", "weights_dated"}
        - ({"settings", "latent_shape"} if searched else set())
    ):
        if name in stated and stated[name] != record[name]:
            lines.append(f"{name} is {record[name]}, result.json states {stated[name]}")
    return sorted(lines)


def reproducible(candidate: Mapping[str, Json]) -> bool:
    """Return whether a candidate's record says all that its images depend on.

    It does not where noise was searched for.
    """
    return (candidate.get("settings") or {}).get("noise", "const") in NOISE


def _viewed(gen: Generator, candidate: Mapping[str, Json]) -> Generator:
    """Return a candidate in the space and under the settings that the result states."""
    space = candidate.get("space", "z")
    if not reproducible(candidate):
        return gen.view(space)  # its latents prove nothing, so no certificate needs it
    return gen.view(space, **(candidate.get("settings") or {}))


def _load_candidate(
    path: AnyPath, stated: Mapping[str, Json], report: Report
) -> tuple[Generator | None, str]:
    """Return a candidate; None and its name if its folder is not as it was written.

    That is reported.
    """
    folder = find_generator(path)
    try:
        return load_generator(path), ""
    except CardError:
        raise
    except GeneratorError as error:  # damaged weights, or digests that are not what its card states
        report.differences.append(
            f"candidate {os.fspath(path)!r} is not as it was written: {error}"
        )
        return None, _card_name(folder, stated)


def _card_name(folder: Path, stated: Mapping[str, Json]) -> str:
    """Return the name of the candidate in a damaged folder: the card's, or the folder's."""
    try:
        name = read_json_text((folder / "card.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        name = folder.name
    return name if name in stated else folder.name


def first_names(data: Mapping[str, Json]) -> list[str]:
    """Return the candidates that a run searched first.

    Further ones are other settings of these, tried on images that nobody seemed to have made.
    """
    names: list[str] = []
    digests: list[tuple[str, str]] = []
    for candidate in data["candidates"]:
        name, digest = candidate["name"], candidate["digest"]
        space = candidate.get("space", "z")
        heads = [f"{first} in {space}" for first, of in digests if of == digest]
        if not any(name == head or name.startswith(f"{head}, noise ") for head in heads):
            names.append(name)
            digests.append((name, digest))
    return names
