"""A log of a tiny generator's uses, images to ask about, and both sides of the evidence."""

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from recorded_logs import Owner, attribution, latents_of
from tiny_generator import make_tiny

from jattr.images import encode_png, to_byte
from jattr.inversion.config import InvertConfig
from jattr.ledger.evidence.bundle import Attribution
from jattr.ledger.evidence.inversion import invert_image
from jattr.ledger.evidence.make import Evidence, EvidenceRequest, make_evidence
from jattr.ledger.evidence.verify import Verified, verify_evidence

NONCE = "what the journalist asked for"
Z = latents_of(0, 8)
LOGGED, UNLOGGED = (0, 1, 2, 5), 7  # places in Z; none of their images is near another
REHEARSALS: dict[str, Any] = {}


@functools.cache
def tiny() -> Any:
    return make_tiny()


@functools.cache
def stranger() -> Any:
    return make_tiny(seed=1, name="stranger")


def pixels_of(gen: Any, z: np.ndarray) -> np.ndarray:
    return to_byte(np.asarray(gen.generate(z)))


@functools.cache
def file_of(place: int, foreign: bool = False) -> bytes:
    """The PNG of a latent's image."""
    return encode_png(pixels_of(stranger() if foreign else tiny(), Z[place : place + 1])[0])


def jpeg(pixels: np.ndarray, quality: int = 75) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


@functools.cache
def inverted(data: bytes, alteration: str | None = None, restarts: int = 8) -> Attribution:
    config = InvertConfig(restarts=restarts, pool=128)
    return invert_image(
        data, tiny(), alteration=alteration or "auto", config=config, pilot_studies=REHEARSALS
    )


def search(data: bytes, gen: Any, alteration: str | None) -> Attribution:
    """The verifier's own search."""
    assert gen is tiny()
    return inverted(data, alteration)


def saying(attribution: Attribution) -> Callable[..., Attribution]:
    """A search that ends so, at once."""
    return lambda data, gen, alteration: attribution


def log_uses(mine: Owner, places: Sequence[int] = LOGGED, gen: Any = None) -> list[int]:
    """Log the images of latents; return their RESULT entries."""
    gen, z = gen or tiny(), Z[list(places)]
    return [one.entry for one in mine.use(gen, z, pixels_of(gen, z))]


def made_of(
    mine: Owner, data: bytes, end: bytes, attribution: Attribution | None = None, **options: Any
) -> Evidence:
    """Evidence as the log's owner makes it."""
    others = options.pop("others", ())
    asked = EvidenceRequest(
        **{"name": "accused.png", "image": data, "start": None, "end": end, "nonce": NONCE}
        | options
    )
    found = attribution or inverted(data)
    return make_evidence(mine.log, mine.private, mine.policy, tiny(), found, asked, others)


def verified(mine: Owner, data: bytes, **options: Any) -> Verified:
    """What somebody finds who trusts the witness, and has the weights."""
    known = {"gen": tiny(), "nonce": NONCE, "invert": search}
    return verify_evidence(data, mine.public, mine.policy, **known | options)


FOREIGN = file_of(0, True)  # an image of the other generator
DENIED = attribution("does-not-fit")


@dataclasses.dataclass
class World:
    mine: Owner
    uses: list[int]
    end: bytes


def both(mine: Owner, data: bytes, end: bytes, said: Any = None, **options: Any) -> Any:
    """The verdict that both sides come to."""
    made = made_of(mine, data, end, said, **options)
    others = options.get("others", ())
    found = verified(
        mine, made.data, image=data, others=others, invert=search if said is None else saying(said)
    )
    assert found.verdict == made.verdict
    assert found.bundle == made.bundle
    return found.verdict
