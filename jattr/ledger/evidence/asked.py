"""What whoever verifies asked for: it must have been answered, and what was not asked for is
listed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.commitments import file_value
from jattr.ledger.evidence.bundle import Bundle
from jattr.ledger.evidence.window import Leaves
from jattr.ledger.leaves import ModelLeaf
from jattr.ledger.policy import OpenedCheckpoint, Policy
from jattr.ledger.recording import settings_of

WIDER = ("z", "w", "w+")  # each space holds what the ones before it make, whatever their truncation


@dataclass(frozen=True)
class Asked:
    """What the verifier asked for; None: not asked."""

    image: bytes | None = None  # the file that is meant
    nonce: str | None = None  # by which the sample was to be chosen
    # checkpoint as published, kept when the nonce was given out: the window must end with it
    end: bytes | None = None
    window: tuple[int, int] | None = None  # sizes between which it must be


def check_asked(
    bundle: Bundle, asked: Asked, policy: Policy, end: OpenedCheckpoint, first: int
) -> None:
    """Check that a bundle answers what was asked.

    Args:
      bundle: the answer.
      asked: the question.
      policy: whom the verifier trusts.
      end: of the bundle's window.
      first: how many entries stand before it.

    Raises:
      VerificationError: it is about another image, sample or window; the message begins with the
        field.
    """
    if asked.image is not None and asked.image != bundle.image:
        raise VerificationError(
            "picture: the bundle is about another file, SHA-256"
            f" {file_value(bundle.image).hex()[:16]}..., yours is"
            f" {file_value(asked.image).hex()[:16]}..."
        )
    if asked.nonce is not None and asked.nonce != bundle.nonce:
        raise VerificationError(
            f"sample: it was chosen by the nonce {bundle.nonce!r}, not by {asked.nonce!r}"
        )
    last = end.checkpoint.size
    if asked.window is not None and asked.window != (first, last):
        raise VerificationError(
            f"window: it is {first}:{last}, you asked for {asked.window[0]}:{asked.window[1]}"
        )
    if asked.end is None:
        return
    try:
        kept = policy.without_quorum().open(asked.end).checkpoint
    except (LedgerError, VerificationError) as error:
        raise type(error)(f"the checkpoint that you kept: {error}") from error
    if kept != end.checkpoint:
        same = "another log, or another root" if kept.size == last else f"{kept.size}"
        raise VerificationError(
            f"window: it ends with {last} entries, the checkpoint that you kept with {same}"
        )


def left_open(bundle: Bundle, asked: Asked, first: int, last: int, published: int) -> list[str]:
    """Return what was not asked for, so that the bundle's maker chose it.

    Args:
      bundle: the answer.
      asked: the question.
      first: entries before the window.
      last: entries up to its end.
      published: entries that are published now.
    """
    found = []
    if asked.image is None:
        digest = file_value(bundle.image).hex()
        found.append(
            "that the bundle is about the image that you mean: --picture; its file is SHA-256"
            f" {digest}"
        )
    if asked.nonce is None:
        found.append("who chose the sample: give the nonce that you had asked for, with --nonce")
    elif asked.end is None:
        found.append(
            "that the log stood as it does when you gave the nonce out: whoever knew it could add"
            " entries until the"
            " sample pleased; give the checkpoint that you kept, with --end"
        )
    if asked.window is None and first:
        found.append(
            f"the {first} entries before the window: if you asked for it, say --window"
            f" {first}:{last}"
        )
    if asked.window is None and asked.end is None and published > last:
        found.append(
            f"the {published - last} entries that were published after the window: if you asked"
            " for it, say"
            f" --window {first}:{last}"
        )
    return found


def unsearched(leaves: Leaves, gen: Any) -> list[str]:
    """Return the settings under which the log says that the weights were used, and a search of
    `gen` cannot find.
    """
    models = [
        leaf
        for leaf in [*leaves.models.values(), *leaves.before.values()]
        if isinstance(leaf, ModelLeaf)
    ]
    mine, found = settings_of(gen), []
    for leaf in models:
        if leaf.weights_digest == gen.weights_digest and not _covers(mine, leaf.settings):
            found.append(
                ", ".join(f"{name} {value}" for name, value in sorted(leaf.settings.items()))
            )
    return [
        f"uses of the model with {settings}, which the log names: the search was in {gen.space}"
        f"{'' if gen.settings is None else f', {gen.settings}'}; --space, --psi, --noise search"
        " otherwise"
        for settings in dict.fromkeys(found)
    ]


def _covers(mine: Mapping[str, Any], used: Mapping[str, Any]) -> bool:
    """Whether a search under the settings `mine` finds what was made under `used`."""
    if mine.get("noise") not in ("search", used.get("noise")):
        return False
    spaces = mine.get("space"), used.get("space")
    if {*spaces} <= {*WIDER} and WIDER.index(str(spaces[0])) > WIDER.index(str(spaces[1])):
        return True
    return all(mine.get(name) == used.get(name) for name in ("space", "psi", "cutoff"))
