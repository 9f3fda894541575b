"""`evidence.html`: a bundle on one page of its own, with the figures of `evidence.json`."""

import functools
from importlib import resources

import jinja2
import numpy as np

from jattr.images import to_float
from jattr.images.reading import decode
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.commitments import file_value
from jattr.ledger.evidence.bundle import Bundle
from jattr.ledger.evidence.judge import Verdict
from jattr.ledger.note import parse_note
from jattr.ledger.perceptual import NEAR_BITS
from jattr.printable import shown
from jattr.report.html import environment, image_uri
from jattr.report.levels import AMPLIFICATION, difference, visible

TEMPLATE = "evidence.html"
MAX_OUTPUTS_SHOWN = 12  # logged outputs on the page
HASH_BITS = 256
RATES = (
    "Perceptual hashes of {bits} bits; outputs at most {near} bits away count as near. How often"
    " an edited copy is that"
    " near, and how often another image is, is measured in docs/formats.md."
)
FACTS = {
    "entries": "entries in the window, all of them hashed",
    "results": "outputs",
    "opened": "of them opened by their perceptual hash",
    "unopened": "not opened",
    "erased": "erased",
    "orphans": "intents without a result, made again",
    "unreadable": "entries that are no leaves of this schema",
}


def evidence_page(bundle: Bundle, verdict: Verdict, model: str, command: str) -> str:
    """Return the page.

    Args:
      bundle: what is stated.
      verdict: what it comes to.
      model: its name.
      command: what verifies the bundle, for a shell.
    """
    examined = bundle.examined
    observation = decode(bundle.image).pixels
    facts = [("window", _window(bundle)), ("signatures under its end", _signatures(bundle.end))]
    facts += [(words, str(examined["counts"][name])) for name, words in FACTS.items()]
    closest = (
        "none was opened"
        if examined["closest"] is None
        else f"{examined['closest']} of {HASH_BITS} bits"
    )
    facts += [
        ("distance of the closest", closest),
        ("sample that was made again, by the nonce", _sample(bundle)),
    ]
    lead, _, rest = verdict.text.partition(": ")
    page: str = _template().render(
        bundle=bundle,
        sha256=file_value(bundle.image).hex(),
        lead=lead,
        rest=rest,
        verdict=verdict,
        model=model,
        command=command,
        observation=image_uri(visible(to_float(observation))),
        compared=_compared(bundle, verdict.use, observation),
        facts=facts,
        numbers=_numbers(bundle),
        amplification=AMPLIFICATION,
        rates=RATES.format(bits=HASH_BITS, near=NEAR_BITS),
    )
    return page


def _numbers(bundle: Bundle) -> str:
    attribution = bundle.attribution
    parts = [] if attribution.residual is None else [f"residual {attribution.residual}"]
    parts.append(f"{attribution.restarts} restart{'' if attribution.restarts == 1 else 's'}")
    if attribution.miss_bound is not None:
        parts.append(
            "chance of having missed an own image, by pilot study, at most"
            f" {attribution.miss_bound}"
        )
    text = "; ".join(parts)
    return text[0].upper() + text[1:]


def _window(bundle: Bundle) -> str:
    first, last = (0 if note is None else _stated(note).size for note in (bundle.start, bundle.end))
    return f"entries {first} to {last - 1}"


def _signatures(note: bytes) -> str:
    """Return whose signatures stand under a checkpoint; whoever verifies checks them."""
    return shown(
        ", ".join(dict.fromkeys(signature.name for signature in parse_note(note).signatures)), 300
    )


def _stated(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note).text)


def _sample(bundle: Bundle) -> str:
    entries = bundle.examined["sample"]
    return (
        f"{len(entries)} of {bundle.examined['counts']['results']}, nonce {shown(bundle.nonce, 80)}"
    )


def _compared(bundle: Bundle, use: int | None, observation: np.ndarray) -> list[dict[str, object]]:
    """Return the logged outputs to compare with the image: at most `MAX_OUTPUTS_SHOWN`.

    The one that the verdict names, those that are near, and those shown besides the sample.
    """
    distances = dict(bundle.examined["near"])
    sample = set(bundle.examined["sample"])
    others = {*distances, *(set(bundle.images) - sample), *bundle.examined["exact"]} & set(
        bundle.images
    )
    entries = ([use] if use in bundle.images else []) + sorted(others - {use})
    compared: list[dict[str, object]] = []
    for entry in entries[:MAX_OUTPUTS_SHOWN]:
        pixels = decode(bundle.images[entry]).pixels
        distance = distances.get(entry)
        compared.append(
            {
                "entry": entry,
                "words": "" if distance is None else f"{distance} of {HASH_BITS} bits away",
                "image": image_uri(visible(to_float(pixels))),
                "difference": image_uri(difference(to_float(pixels), observation)),
            }
        )
    return compared


@functools.cache
def _template() -> jinja2.Template:
    return environment().from_string(
        resources.files("jattr.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    )
