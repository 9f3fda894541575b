"""What a verifier expects of evidence; what was left open is listed."""

from collections.abc import Mapping
from dataclasses import dataclass

from jattr.errors import LedgerError, VerificationError
from jattr.generators.base import Generator
from jattr.ledger.commitments import file_value
from jattr.ledger.evidence.bundle import Bundle
from jattr.ledger.evidence.window import Leaves
from jattr.ledger.leaves import ModelLeaf, Scalar
from jattr.ledger.policy import OpenedCheckpoint, Policy
from jattr.ledger.recording import settings_of

WIDER = ("z", "w", "w+")  # each space holds what the ones before it make, whatever their truncation


@dataclass(frozen=True)
class Expected:
    """What the verifier had asked for; None: left open."""

    image: bytes | None = None  # the file that is meant
    nonce: str | None = None  # by which the sample was to be chosen
    # checkpoint as published, saved when the nonce was given out: the window must end with it
    end: bytes | None = None
    window: tuple[int, int] | None = None  # sizes between which it must be


def check_expected(
    bundle: Bundle, expected: Expected, policy: Policy, end: OpenedCheckpoint, first: int
) -> None:
    """Check that a bundle answers what was asked.

    Args:
      bundle: the answer.
      expected: what the verifier had asked for.
      policy: whom the verifier trusts.
      end: of the bundle's window.
      first: how many entries stand before it.

    Raises:
      VerificationError: it is about another image, sample or window; the message begins with the
        field.
    """
    if expected.image is not None and expected.image != bundle.image:
        raise VerificationError(
            "picture: the bundle is about another file, SHA-256"
            f" {file_value(bundle.image).hex()[:16]}..., yours is"
            f" {file_value(expected.image).hex()[:16]}..."
        )
    if expected.nonce is not None and expected.nonce != bundle.nonce:
        raise VerificationError(
            f"sample: it was chosen by the nonce {bundle.nonce!r}, not by {expected.nonce!r}"
        )
    last = end.checkpoint.size
    if expected.window is not None and expected.window != (first, last):
        raise VerificationError(
            f"window: it is {first}:{last}, you asked for {expected.window[0]}:{expected.window[1]}"
        )
    if expected.end is None:
        return
    try:
        saved = policy.without_quorum().open(expected.end).checkpoint
    except (LedgerError, VerificationError) as error:
        raise type(error)(f"the checkpoint that you kept: {error}") from error
    if saved != end.checkpoint:
        difference = "another log, or another root" if saved.size == last else f"{saved.size}"
        raise VerificationError(
            f"window: it ends with {last} entries, the checkpoint that you kept with {difference}"
        )


def unspecified(
    bundle: Bundle, expected: Expected, first: int, last: int, published: int
) -> list[str]:
    """Return what the verifier left open, so that the bundle's maker chose it.

    Args:
      bundle: the answer.
      expected: what the verifier had asked for.
      first: entries before the window.
      last: entries up to its end.
      published: entries that are published now.
    """
    choices = []
    if expected.image is None:
        digest = file_value(bundle.image).hex()
        choices.append(
            "that the bundle is about the image that you mean: --picture; its file is SHA-256"
            f" {digest}"
        )
    if expected.nonce is None:
        choices.append("who chose the sample: give the nonce that you had asked for, with --nonce")
    elif expected.end is None:
        choices.append(
            "that the log stood as it does when you gave the nonce out: whoever knew it could add"
            " entries until the sample pleased; give the checkpoint that you kept, with --end"
        )
    if expected.window is None and first:
        choices.append(
            f"the {first} entries before the window: if you asked for it, say --window"
            f" {first}:{last}"
        )
    if expected.window is None and expected.end is None and published > last:
        choices.append(
            f"the {published - last} entries that were published after the window: if you asked"
            f" for it, say --window {first}:{last}"
        )
    return choices


def unsearched_settings(leaves: Leaves, gen: Generator) -> list[str]:
    """Return the logged settings of the model's uses that a search of `gen` does not cover."""
    searched = settings_of(gen)
    unsearched = []
    for leaf in [*leaves.models.values(), *leaves.fetched.values()]:
        if not isinstance(leaf, ModelLeaf) or leaf.weights_digest != gen.weights_digest:
            continue
        if not _covers(searched, leaf.settings):
            settings = sorted(leaf.settings.items())
            unsearched.append(", ".join(f"{name} {value}" for name, value in settings))
    where = gen.space if gen.settings is None else f"{gen.space}, {gen.settings}"
    return [
        f"uses of the model with {settings}, which the log names: the search was in {where};"
        " --space, --psi, --noise search otherwise"
        for settings in dict.fromkeys(unsearched)
    ]


def _covers(searched: Mapping[str, Scalar], used: Mapping[str, Scalar]) -> bool:
    """Return whether a search under some settings finds what was made under others."""
    if searched.get("noise") not in ("search", used.get("noise")):
        return False
    spaces = searched.get("space"), used.get("space")
    if {*spaces} <= {*WIDER} and WIDER.index(str(spaces[0])) > WIDER.index(str(spaces[1])):
        return True
    return all(searched.get(name) == used.get(name) for name in ("space", "psi", "cutoff"))
