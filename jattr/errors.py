"""The errors that jattr raises on purpose.

Every error that bad input causes is an `InputError`: its message is one line that says what was
found, what is legal and what to do. The command line turns it into exit code 2.
"""

import difflib
import json
from collections.abc import Sequence


class JattrError(Exception):
    """Base of every error that jattr raises on purpose."""


class InputError(JattrError, ValueError):
    """Input that jattr cannot use; the message says what it is, what is legal and what to do."""


class CheckpointError(InputError):
    """A weights file that is damaged, hostile, too large or not a state dict."""


class CardError(InputError):
    """An architecture card that is incomplete, unknown or does not chain."""


class ConversionError(InputError):
    """Weights and architecture that do not fit together; the message lists every mismatch."""


class ImageError(InputError):
    """An image that cannot be read, or of a kind or size that jattr refuses."""


class UnreadableJpegError(ImageError):
    """A JPEG file whose pixels may mislead: damaged, or coded in a way that is not decoded."""


class GeneratorError(InputError):
    """A generator folder, name or latent that cannot be used."""


class OutputError(InputError):
    """An output folder or file that cannot be written, or that exists already."""


class LedgerError(InputError):
    """A key, note, proof, tile, log, policy or evidence bundle that cannot be used."""


class VerificationError(JattrError):
    """A check that was carried out and failed (exit code 3)."""


class UnverifiedError(JattrError):
    """Nothing contradicts what was checked, but some of it could not be (exit code 4)."""


def show(value: object) -> str:
    """Return a value as short JSON text of printable ASCII."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def suggest(word: str, legal: Sequence[str]) -> str:
    """Return the second half of a message about a name that does not exist."""
    near = difflib.get_close_matches(word, legal, n=1)
    return f"did you mean {show(near[0])}?" if near else f"legal: {', '.join(legal)}"
