"""What the leaves of a window say, and what the openings make of it for one image.

Who makes a bundle and who verifies it run the same function over the same leaves, so nothing
derived is believed.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    others: int = 0  # entries that are no leaves of this schema
    before: dict[int, Leaf | None] = field(default_factory=dict)  # fetched; None: no leaf

    def read(self, number: int, entry: bytes) -> None:
        """Take one entry."""
        self.entries += 1
        try:
            leaf = parse_leaf(entry)
        except LedgerError:
            self.others += 1
            return
        if isinstance(leaf, ModelLeaf):
            self.models[number] = leaf
        elif isinstance(leaf, IntentLeaf):
            self.intents[number] = _intent(leaf)
        elif isinstance(leaf, ResultLeaf):
            hidden = (_bytes(leaf.file), bytes.fromhex(leaf.pixels), bytes.fromhex(leaf.perceptual))
            self.results[number] = Result(leaf.intent, *hidden, _bytes(leaf.recipient))
        elif isinstance(leaf, EraseLeaf):
            self.erased |= set(leaf.entries)

    def intent(self, number: int) -> Intent | None:
        """Return an INTENT leaf, of the window or before it; None if that entry is none."""
        if number in self.intents:
            return self.intents[number]
        leaf = self._before(number)
        return _intent(leaf) if isinstance(leaf, IntentLeaf) else None

    def model(self, number: int) -> ModelLeaf | None:
        """Return a MODEL leaf, of the window or before it; None if that entry is none."""
        if number in self.models:
            return self.models[number]
        leaf = self._before(number)
        return leaf if isinstance(leaf, ModelLeaf) else None

    def model_of(self, entry: int) -> ModelLeaf | None:
        """Return the model of a RESULT or INTENT entry; None if its leaves lead nowhere."""
        intent = self.intent_of(entry)
        return None if intent is None else self.model(intent.model)

    def intent_of(self, entry: int) -> Intent | None:
        """Return the INTENT leaf of a RESULT entry, which stands before it, or of an INTENT
        entry itself.
        """
        if entry not in self.results:
            return self.intent(entry)
        number = self.results[entry].intent
        return self.intent(number) if number < entry else None

    def orphans(self) -> list[int]:
        """Return the INTENT entries of the window without a result after them in it."""
        done = {result.intent for entry, result in self.results.items() if result.intent < entry}
        return [number for number in self.intents if number not in done]

    def astray(self) -> int:
        """Return how many outputs of the window lead to no use of a model, or to one that has
        another output.
        """
        # the first of each
        alone = {result.intent: entry for entry, result in reversed(self.results.items())}
        return sum(
            alone[result.intent] != entry or self.model_of(entry) is None
            for entry, result in self.results.items()
        )

    def commitment(self, entry: int, name: str) -> bytes | None:
        """Return what an entry of the window commits to; a RESULT's latent and seed are its
        INTENT's.
        """
        leaf: Any = self.results.get(entry) if name in Result._fields else self._use(entry)
        return None if leaf is None else getattr(leaf, name, None)

    def _use(self, entry: int) -> Intent | None:
        return self.intent_of(entry) if entry in self.results or entry in self.intents else None

    def _before(self, number: int) -> Leaf | None:
        if number not in self.before:
            entry = self.fetch(number)
            try:
                self.before[number] = None if entry is None else parse_leaf(entry)
            except LedgerError:
                self.before[number] = None
        return self.before[number]


@dataclass(frozen=True)
class Examined:
    """What leaves and openings show of an image."""

    counts: dict[str, int]
    # least distance of perceptual hashes of any opened output, the image turned and mirrored
    closest: int | None
    near: tuple[tuple[int, int], ...]  # (entry, distance) of those that are near
    exact: tuple[int, ...]  # entries whose opened pixels are the images
    sample: tuple[int, ...]  # entries that must be made again, by the nonce
    orphans: tuple[int, ...]  # intents without a result
    featureless: bool  # the image has next to no structure: its hash says nothing
    hash: str  # of the image, hexadecimal

    @property
    def to_show(self) -> list[int]:
        """The entries that must be made again."""
        return sorted(
            {*self.sample, *self.orphans, *(entry for entry, _ in self.near), *self.exact}
        )

    @property
    def json(self) -> dict[str, Any]:
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
    observation: tuple[tuple[bytes, ...], bytes],
    sample: tuple[str, int, bytes],
) -> Examined:
    """Return what follows from leaves and openings.

    Args:
      leaves: of the window.
      openings: by (entry, field), checked.
      digest: of the accused model.
      observation: perceptual hashes (its own, then those of its turns and mirrors) and pixels'
        value (a SHA-256).
      sample: nonce, number wanted, and the root of the window's end.
    """
    hashes, pixels = observation
    opened = [entry for entry in leaves.results if (entry, "perceptual") in openings]
    seen = {entry: openings[entry, "perceptual"].value for entry in opened}
    distances = {
        entry: min(distance(mine, other) for mine in hashes) for entry, other in seen.items()
    }
    mine = [entry for entry in leaves.results if _is_of(leaves, entry, digest)]
    orphans = leaves.orphans()
    erased = len(leaves.erased & set(leaves.results))
    counts = {
        "entries": leaves.entries,
        "results": len(leaves.results),
        "of_the_model": len(mine),
        "opened": len(opened),
        "unopened": len(leaves.results)
        - len(opened)
        - len(leaves.erased & set(leaves.results) - set(opened)),
        "erased": erased,
        "orphans": len(orphans),
        "unreadable": leaves.others,
        "astray": leaves.astray(),
        "hashless": sum(map(is_featureless, seen.values())),
    }
    return Examined(
        counts=counts,
        closest=min(distances.values(), default=None),
        near=tuple(
            (e, distances[e]) for e in sorted(seen) if any(near(mine, seen[e]) for mine in hashes)
        ),
        exact=exact_entries(openings, pixels),
        sample=chosen(list(leaves.results), *sample),
        orphans=tuple(orphans),
        featureless=is_featureless(hashes[0]),
        hash=hashes[0].hex(),
    )


def exact_entries(openings: Mapping[tuple[int, str], Opening], pixels: bytes) -> tuple[int, ...]:
    """Return the entries whose opened pixels have a value, in ascending order."""
    return tuple(
        sorted(
            entry for (entry, name), o in openings.items() if name == "pixels" and o.value == pixels
        )
    )


def chosen(entries: Sequence[int], nonce: str, wanted: int, root: bytes) -> tuple[int, ...]:
    """Return the entries of the sample: the `wanted` least SHA-256 of root, nonce and entry, in
    ascending order.

    The root fixes what can be chosen from. Whoever knows the nonce before the root is fixed can
    choose both: so the asker keeps the checkpoint that stood when the nonce was given out, and the
    window must end with it.

    >>> chosen([3, 5, 9], "a nonce", 2, bytes(32))
    (3, 9)
    """
    head = b"jattr/sample/v1\0" + root + hashlib.sha256(nonce.encode()).digest()
    ranked = sorted(
        entries, key=lambda entry: hashlib.sha256(head + entry.to_bytes(8, "big")).digest()
    )
    return tuple(sorted(ranked[:wanted]))


def _is_of(leaves: Leaves, entry: int, digest: str) -> bool:
    model = leaves.model_of(entry)
    return model is not None and model.weights_digest == digest


def _intent(leaf: IntentLeaf) -> Intent:
    return Intent(leaf.model, bytes.fromhex(leaf.latent), _bytes(leaf.seed))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
