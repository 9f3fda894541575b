"""What the leaves of a window say, and what the openings make of it for one image.

The maker of a bundle and its verifier run the same function over the same leaves, so nothing
derived is believed.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.commitments import Opening
from jattr.ledger.leaves import EraseLeaf, IntentLeaf, Leaf, ModelLeaf, ResultLeaf, parse_leaf
from jattr.ledger.perceptual import distance, is_featureless, near

# an entry before the window, verified to be in the log; None: it is after it
Fetch = Callable[[int], bytes | None]


class Result(NamedTuple):
    """A RESULT leaf, small: commitments as bytes."""

    intent: int
    file: bytes | None
    pixels: bytes
    perceptual: bytes
    recipient: bytes | None


class Intent(NamedTuple):
    """An INTENT leaf, small."""

    model: int
    latent: bytes
    seed: bytes | None


@dataclass
class Leaves:
    """The leaves of a window. `read` takes its entries one after the other."""

    fetch: Fetch
    models: dict[int, ModelLeaf] = field(default_factory=dict)
    intents: dict[int, Intent] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)
    erased: set[int] = field(default_factory=set)
    entries: int = 0
    unreadable: int = 0  # entries that are no leaves of this schema
    # leaves before the window that were asked for; None: the entry is no leaf
    fetched: dict[int, Leaf | None] = field(default_factory=dict)

    def read(self, number: int, entry: bytes) -> None:
        """Take one entry."""
        self.entries += 1
        try:
            leaf = parse_leaf(entry)
        except LedgerError:
            self.unreadable += 1
            return
        if isinstance(leaf, ModelLeaf):
            self.models[number] = leaf
        elif isinstance(leaf, IntentLeaf):
            self.intents[number] = _intent(leaf)
        elif isinstance(leaf, ResultLeaf):
            self.results[number] = Result(
                leaf.intent,
                _bytes(leaf.file),
                bytes.fromhex(leaf.pixels),
                bytes.fromhex(leaf.perceptual),
                _bytes(leaf.recipient),
            )
        elif isinstance(leaf, EraseLeaf):
            self.erased |= set(leaf.entries)

    def intent(self, number: int) -> Intent | None:
        """Return an INTENT leaf, of the window or before it; None if that entry is none."""
        if number in self.intents:
            return self.intents[number]
        leaf = self._fetch(number)
        return _intent(leaf) if isinstance(leaf, IntentLeaf) else None

    def model(self, number: int) -> ModelLeaf | None:
        """Return a MODEL leaf, of the window or before it; None if that entry is none."""
        if number in self.models:
            return self.models[number]
        leaf = self._fetch(number)
        return leaf if isinstance(leaf, ModelLeaf) else None

    def model_of(self, entry: int) -> ModelLeaf | None:
        """Return the model of a RESULT or INTENT entry; None if its leaves lead nowhere."""
        intent = self.intent_of(entry)
        return None if intent is None else self.model(intent.model)

    def intent_of(self, entry: int) -> Intent | None:
        """Return the INTENT leaf of a RESULT entry, which stands before it, or of itself."""
        if entry not in self.results:
            return self.intent(entry)
        number = self.results[entry].intent
        return self.intent(number) if number < entry else None

    def orphans(self) -> list[int]:
        """Return the INTENT entries of the window without a result after them in it."""
        finished = {
            result.intent for entry, result in self.results.items() if result.intent < entry
        }
        return [number for number in self.intents if number not in finished]

    def astray(self) -> int:
        """Count the outputs that lead to no use of a model, or to one with an earlier output."""
        first: dict[int, int] = {}  # intent -> its first result
        for entry, result in self.results.items():
            first.setdefault(result.intent, entry)
        return sum(
            first[result.intent] != entry or self.model_of(entry) is None
            for entry, result in self.results.items()
        )

    def commitment(self, entry: int, name: str) -> bytes | None:
        """Return what an entry commits to; a RESULT's latent and seed are those of its INTENT."""
        leaf: Result | Intent | None = None
        if name in Result._fields:
            leaf = self.results.get(entry)
        elif entry in self.results or entry in self.intents:
            leaf = self.intent_of(entry)
        return None if leaf is None else getattr(leaf, name, None)

    def _fetch(self, number: int) -> Leaf | None:
        if number not in self.fetched:
            entry = self.fetch(number)
            try:
                self.fetched[number] = None if entry is None else parse_leaf(entry)
            except LedgerError:
                self.fetched[number] = None
        return self.fetched[number]


@dataclass(frozen=True)
class Examination:
    """What leaves and openings show of an image."""

    counts: dict[str, int]
    # least distance of perceptual hashes of any opened output, the image turned and mirrored
    closest: int | None
    near: tuple[tuple[int, int], ...]  # (entry, distance) of those that are near
    exact: tuple[int, ...]  # entries whose opened pixels are those of the image
    sample: tuple[int, ...]  # entries that must be made again, by the nonce
    orphans: tuple[int, ...]  # intents without a result
    featureless: bool  # the image has next to no structure: its hash says nothing
    hash: str  # of the image, hexadecimal

    @property
    def to_regenerate(self) -> list[int]:
        """The entries that must be made again."""
        return sorted(
            {*self.sample, *self.orphans, *(entry for entry, _ in self.near), *self.exact}
        )

    @property
    def json(self) -> dict[str, object]:
        """The values that the bundle states."""
        return {
            "counts": self.counts,
            "closest": self.closest,
            "near": [list(pair) for pair in self.near],
            "exact": list(self.exact),
            "sample": list(self.sample),
            "orphans": list(self.orphans),
            "featureless": self.featureless,
            "hash": self.hash,
        }


def check_openings(leaves: Leaves, openings: Mapping[tuple[int, str], Opening]) -> None:
    """Check that every opening opens what its entry committed to.

    Raises:
      VerificationError: one does not; the message names it.
    """
    for (entry, name), opening in openings.items():
        commitment = leaves.commitment(entry, name)
        if commitment is None:
            raise VerificationError(
                f"openings or window: entry {entry} of the window commits to no {name}"
            )
        try:
            opening.check(commitment)
        except VerificationError as error:
            raise VerificationError(f"openings: entry {entry}: {error}") from error


def examine(
    leaves: Leaves,
    openings: Mapping[tuple[int, str], Opening],
    digest: str,
    hashes: Sequence[bytes],
    pixels: bytes,
    sample: tuple[int, ...],
) -> Examination:
    """Return what follows from leaves and openings.

    Args:
      leaves: of the window.
      openings: by (entry, field), checked.
      digest: of the weights of the model in question.
      hashes: perceptual hashes of the image: its own, then those of its turns and mirrors.
      pixels: the value of its pixels, a SHA-256.
      sample: as `sample_entries` draws it.
    """
    opened = {
        entry: openings[entry, "perceptual"].value
        for entry in leaves.results
        if (entry, "perceptual") in openings
    }
    distances = {
        entry: min(distance(own, logged) for own in hashes) for entry, logged in opened.items()
    }
    near_entries = [
        entry for entry in sorted(opened) if any(near(own, opened[entry]) for own in hashes)
    ]
    orphans = leaves.orphans()
    # An erased output may still have been opened, by whoever has an older copy of the secrets.
    erased = leaves.erased & set(leaves.results)
    counts = {
        "entries": leaves.entries,
        "results": len(leaves.results),
        "of_the_model": sum(_is_of(leaves, entry, digest) for entry in leaves.results),
        "opened": len(opened),
        "unopened": len(leaves.results) - len(opened) - len(erased - set(opened)),
        "erased": len(erased),
        "orphans": len(orphans),
        "unreadable": leaves.unreadable,
        "astray": leaves.astray(),
        "hashless": sum(map(is_featureless, opened.values())),
    }
    return Examination(
        counts=counts,
        closest=min(distances.values(), default=None),
        near=tuple((entry, distances[entry]) for entry in near_entries),
        exact=exact_entries(openings, pixels),
        sample=sample,
        orphans=tuple(orphans),
        featureless=is_featureless(hashes[0]),
        hash=hashes[0].hex(),
    )


def exact_entries(openings: Mapping[tuple[int, str], Opening], pixels: bytes) -> tuple[int, ...]:
    """Return the entries whose opened pixels have a value, in ascending order."""
    return tuple(
        sorted(
            entry
            for (entry, name), opening in openings.items()
            if name == "pixels" and opening.value == pixels
        )
    )


def sample_entries(entries: Iterable[int], nonce: str, size: int, root: bytes) -> tuple[int, ...]:
    """Return the entries of the sample, in ascending order.

    They are those with the `size` least values of SHA-256 over root, nonce and entry. The root
    fixes what can be chosen from. Whoever knows the nonce before the root is fixed can choose both:
    so the asker keeps the checkpoint that stood when the nonce was given out, and the window must
    end with it.

    >>> sample_entries([3, 5, 9], "a nonce", 2, bytes(32))
    (3, 9)
    """
    head = b"jattr/sample/v1\0" + root + hashlib.sha256(nonce.encode()).digest()
    ranked = sorted(
        entries, key=lambda entry: hashlib.sha256(head + entry.to_bytes(8, "big")).digest()
    )
    return tuple(sorted(ranked[:size]))


def _is_of(leaves: Leaves, entry: int, digest: str) -> bool:
    model = leaves.model_of(entry)
    return model is not None and model.weights_digest == digest


def _intent(leaf: IntentLeaf) -> Intent:
    return Intent(leaf.model, bytes.fromhex(leaf.latent), _bytes(leaf.seed))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
