"""The bundle: one file of canonical JSON, signed field by field by the log's key.

The signature is a note over the digest of every field, so that a change names the field. It binds
the owner of the log to what is said; what is said is checked all the same.
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.canonical import encode_canonical, parse_canonical
from jattr.ledger.commitments import CONTROLS, Opening, parse_hex, parse_latent, parse_opening
from jattr.ledger.encoding import encode_base64, parse_base64, shown
from jattr.ledger.keys import Signer, Verifier
from jattr.ledger.note import open_note, sign_note

Json: TypeAlias = dict[str, Any]  # an object, whatever its values

EVIDENCE_SCHEMA = "evidence/v1"
FILE = "evidence.json"
MAX_EVIDENCE_BYTES = 512 * 2**20
MAX_IMAGE = 80 * 2**20
# commas, colons and brackets, of which base64 has none: they bound time and memory of reading
MAX_PARTS = 2_000_000
STATEMENT = "jattr/evidence/v1\n"  # what is signed begins so
LEVELS = ("commitments", "perceptual", "regenerated")  # each opens more
FIT_WORDS = ("fits", "does-not-fit", "undecided")
NONCE = 200  # characters
BUNDLE_FIELDS = (
    "origin",
    "picture",
    "model",
    "window",
    "level",
    "openings",
    "sample",
    "pictures",
    "attribution",
    "examined",
    "verdict",
)
DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-][0-9]{1,3})?")
OPENED = {
    "commitments": set[str](),
    "perceptual": {"perceptual"},
    "regenerated": {"perceptual", "pixels", "latent"},
}


@dataclass(frozen=True)
class Attribution:
    """The result of inversion: as the bundle states it, or as the verifier's own search ended."""

    fit: str  # one of FIT_WORDS
    certificate: bool  # whether the latent reproduces the image as the certificate test demands
    alteration: str | None  # what was taken to have been done to the image, as a chain
    latent: bytes | None  # spelt as its commitment is; None: no restart ended
    residual: str | None  # decimal, [-1, 1] units
    restarts: int
    miss_bound: str | None  # decimal: chance at most of having missed an own image; None: not known
    reason: str


@dataclass(frozen=True)
class Bundle:
    """Everything that is stated. Nothing in it is verified."""

    origin: str
    name: str  # of the image's file
    image: bytes  # the file
    model: int  # entry of the MODEL leaf
    digest: str  # of the model's weights, 64 hexadecimal digits
    # checkpoint after whose entries the window begins, as published; None: the log's beginning
    start: bytes | None
    end: bytes  # checkpoint with whose entries it ends
    level: str  # one of LEVELS
    openings: dict[tuple[int, str], Opening]  # (entry, field) ->
    nonce: str  # the sample's, from whoever asked or from a beacon
    sample_size: int  # entries that are made again by the nonce
    images: dict[int, bytes]  # entry -> PNG, of the entries that were made again
    attribution: Attribution
    # counts, hash, near entries, sample: what follows from the log and the openings
    examined: Json
    verdict: Json

    def fields(self) -> Json:
        """Return the bundle as JSON values, without its signature."""
        openings = [
            {"entry": entry, **self.openings[entry, field].json}
            for entry, field in sorted(self.openings)
        ]
        attribution = dataclasses.asdict(self.attribution)
        latent = self.attribution.latent
        return {
            "jattr": EVIDENCE_SCHEMA,
            "origin": self.origin,
            "picture": {"name": self.name, "data": encode_base64(self.image)},
            "model": {"entry": self.model, "digest": self.digest},
            "window": {
                "start": self.start and encode_base64(self.start),
                "end": encode_base64(self.end),
            },
            "level": self.level,
            "openings": openings,
            "sample": {"nonce": self.nonce, "wanted": self.sample_size},
            "pictures": [
                {"entry": n, "data": encode_base64(self.images[n])} for n in sorted(self.images)
            ],
            "attribution": attribution | {"latent": latent and encode_base64(latent)},
            "examined": self.examined,
            "verdict": self.verdict,
        }


def encode_bundle(bundle: Bundle, signers: Sequence[Signer]) -> bytes:
    """Return the file of a bundle, signed."""
    fields = bundle.fields()
    note = sign_note(_statement(fields), signers)
    data = encode_canonical(fields | {"signature": encode_base64(note)})
    if len(data) > MAX_EVIDENCE_BYTES:
        raise LedgerError(
            f"the bundle has {len(data)} bytes; at most {MAX_EVIDENCE_BYTES} are read: choose a"
            " shorter window"
        )
    _check_parts(data)
    return data


def parse_bundle(data: bytes, keys: Sequence[Verifier]) -> Bundle:
    """Return the bundle of a file, its signature checked.

    Args:
      data: the file.
      keys: of the logs that are trusted.

    Raises:
      LedgerError: it is malformed; the message names the field.
      VerificationError: a field is not what was signed, or no trusted log key has signed.
    """
    _check_parts(data)
    fields = parse_canonical(data, "the bundle", MAX_EVIDENCE_BYTES)
    if not isinstance(fields, dict) or fields.get("jattr") != EVIDENCE_SCHEMA:
        raise LedgerError(
            "jattr: the file is no bundle of this schema, an object with"
            f' "jattr":"{EVIDENCE_SCHEMA}"'
        )
    if differing := sorted({"jattr", *BUNDLE_FIELDS, "signature"} ^ set(fields)):
        raise LedgerError(
            f"the bundle lacks fields, or has unknown ones: {shown(', '.join(differing).encode())}"
        )
    signature = _base64_of(fields.pop("signature"), "signature")
    try:
        opened = open_note(signature, keys)
    except VerificationError as error:
        raise VerificationError(f"signature: {error}") from error
    except LedgerError as error:
        raise LedgerError(f"signature: {error}") from error
    if not opened.text.startswith(STATEMENT):
        raise VerificationError("signature: it is that of another text of the log, not of a bundle")
    # The signature is over one line a field, so that the first line that differs names the field.
    stated, signed = _statement(fields), opened.text
    for line, other in zip(stated.splitlines(), signed.splitlines(), strict=False):
        if line != other:
            raise VerificationError(f"field {line.partition(' ')[0]}: it is not what was signed")
    if stated != signed:
        raise VerificationError("signature: it is over other fields")
    bundle = _parse(fields)
    if bundle.origin not in {key.name for key in opened.verified}:
        raise VerificationError(
            f"origin: it is {_shown(bundle.origin)}, and another log's key has signed the bundle"
        )
    return bundle


def _check_parts(data: bytes) -> None:
    parts = sum(map(data.count, (b",", b":", b"[", b"{")))
    if parts > MAX_PARTS:
        raise LedgerError(
            f"the bundle has {parts} parts; at most {MAX_PARTS} are read: choose a shorter window"
        )


def _shown(text: str) -> str:
    return shown(text.encode(errors="replace"))


def _statement(fields: Json) -> str:
    """Return the text that is signed: each field's name and SHA-256."""
    lines = [
        f"{name} {hashlib.sha256(encode_canonical(fields[name])).hexdigest()}"
        for name in sorted(fields)
    ]
    return STATEMENT + "".join(f"{line}\n" for line in lines)


def _parse(fields: Json) -> Bundle:
    image = _object_of(fields, "picture", "name", "data")
    model = _object_of(fields, "model", "entry", "digest")
    window = _object_of(fields, "window", "start", "end")
    sample = _object_of(fields, "sample", "nonce", "wanted")
    origin = _text_of(fields["origin"], "origin")
    level = _text_of(fields["level"], "level")
    if level not in LEVELS:
        raise LedgerError(f"level: it is {_shown(level)}; there are {', '.join(LEVELS)}")
    start = window["start"]
    openings = _openings(fields["openings"])
    images = _images(fields["pictures"])
    if beyond := sorted({name for _, name in openings} - OPENED[level]):
        raise LedgerError(f"level or openings: at level {level} {', '.join(beyond)} is not opened")
    if images and level != LEVELS[-1]:
        raise LedgerError(f"level or pictures: at level {level} no image is made again")
    return Bundle(
        origin=origin,
        name=_text_of(image["name"], "picture"),
        image=_base64_of(image["data"], "picture", MAX_IMAGE),
        model=_whole_number(model["entry"], "model"),
        digest=_digest(model["digest"]),
        start=None if start is None else _base64_of(start, "window"),
        end=_base64_of(window["end"], "window"),
        level=level,
        openings=openings,
        nonce=_text_of(sample["nonce"], "sample", NONCE),
        sample_size=_whole_number(sample["wanted"], "sample"),
        images=images,
        attribution=_attribution(fields),
        examined=_any_object(fields["examined"], "examined"),
        verdict=_any_object(fields["verdict"], "verdict"),
    )


def _digest(value: object) -> str:
    try:
        parse_hex(_text_of(value, "model"), "the digest")
    except LedgerError as error:
        raise LedgerError(f"model: {error}") from error
    return str(value)


def _openings(items: object) -> dict[tuple[int, str], Opening]:
    openings: dict[tuple[int, str], Opening] = {}
    last = (-1, "")
    for item in _list_of(items, "openings"):
        if not isinstance(item, dict) or "entry" not in item:
            raise LedgerError("openings: each is an object with an entry")
        try:
            opening = parse_opening(
                {name: value for name, value in item.items() if name != "entry"}
            )
        except LedgerError as error:
            raise LedgerError(f"openings: {error}") from error
        key = (_whole_number(item["entry"], "openings"), opening.field)
        if key <= last:
            raise LedgerError(f"openings: entry {key[0]} stands twice or out of order")
        openings[key] = opening
        last = key
    return openings


def _images(items: object) -> dict[int, bytes]:
    images: dict[int, bytes] = {}
    for item in _list_of(items, "pictures"):
        if not isinstance(item, dict) or sorted(item) != ["data", "entry"]:
            raise LedgerError("pictures: each is an object of an entry and data")
        entry = _whole_number(item["entry"], "pictures")
        if images and entry <= max(images):
            raise LedgerError(f"pictures: entry {entry} stands twice or out of order")
        images[entry] = _base64_of(item["data"], "pictures", MAX_IMAGE)
    return images


def _attribution(fields: Json) -> Attribution:
    names = [item.name for item in dataclasses.fields(Attribution)]
    stated = _object_of(fields, "attribution", *names)
    texts = {name: stated[name] for name in ("alteration", "residual", "miss_bound")}
    for name, value in texts.items():
        if value is not None:
            _text_of(value, f"attribution ({name})")
            if name != "alteration" and not (
                DECIMAL.fullmatch(value) and math.isfinite(float(value))
            ):
                raise LedgerError(f"attribution ({name}): it is no decimal number")
    if stated["fit"] not in FIT_WORDS or not isinstance(stated["certificate"], bool):
        raise LedgerError(f"attribution: fit is {', '.join(FIT_WORDS)}, certificate true or false")
    latent = (
        None
        if stated["latent"] is None
        else _base64_of(stated["latent"], "attribution (latent)", MAX_IMAGE)
    )
    try:
        if latent is not None:
            parse_latent(latent)
    except LedgerError as error:
        raise LedgerError(f"attribution (latent): {error}") from error
    if (latent is None) != (texts["residual"] is None):
        raise LedgerError("attribution: latent and residual go together")
    if stated["certificate"] and (stated["fit"] != "fits" or latent is None):
        raise LedgerError("attribution: a certificate is of a latent that fits")
    return Attribution(
        fit=stated["fit"],
        certificate=stated["certificate"],
        latent=latent,
        restarts=_whole_number(stated["restarts"], "attribution"),
        reason=_text_of(stated["reason"], "attribution (reason)"),
        **texts,
    )


# Values of a bundle, read strictly: each error, a LedgerError, begins with the field's name.


def _object_of(fields: Json, name: str, *keys: str) -> Json:
    """Return an object that has these keys and no others."""
    value = fields[name]
    if not isinstance(value, dict) or sorted(value) != sorted(keys):
        raise LedgerError(f"{name}: it is no object of {', '.join(keys)}")
    return value


def _any_object(value: object, name: str) -> Json:
    """Return an object."""
    if not isinstance(value, dict):
        raise LedgerError(f"{name}: it is no object")
    return value


def _list_of(value: object, name: str) -> list[object]:
    """Return a list."""
    if not isinstance(value, list):
        raise LedgerError(f"{name}: it is no list")
    return value


def _text_of(value: object, name: str, limit: int = 2000) -> str:
    """Return a text without control characters."""
    if not isinstance(value, str) or len(value) > limit or CONTROLS.search(value):
        raise LedgerError(
            f"{name}: it is no text of at most {limit} characters without control characters"
        )
    return value


def _whole_number(value: object, name: str) -> int:
    """Return a whole number from 0."""
    if type(value) is not int or value < 0:
        raise LedgerError(f"{name}: it is no whole number from 0")
    return value


def _base64_of(value: object, name: str, limit: int = 2_000_000) -> bytes:
    """Return the bytes of a canonical base64 text."""
    if not isinstance(value, str) or len(value) > limit * 4 // 3 + 4:
        raise LedgerError(f"{name}: it is no base64 text of at most {limit} bytes")
    try:
        return parse_base64(value.encode(errors="replace"), name)
    except LedgerError as error:
        raise LedgerError(f"{name}: it is no canonical base64") from error
