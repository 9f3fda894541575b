"""Bundles that a third party or the log's owner has tampered with.

All rejected, each by the field's name.

The verifier knows the image and the nonce, has the weights, and searches.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from recorded_logs import WITNESS, Owner, latents_of, owner
from tamperings import CLAIMS, Fields, Tampering, tamperings, text_of
from tiny_world import (
    FOREIGN,
    LOGGED,
    NONCE,
    UNLOGGED,
    Z,
    file_of,
    inverted,
    log_uses,
    pixels_of,
    search,
    stranger,
    tiny,
)

from jattr.errors import LedgerError, VerificationError
from jattr.images import encode_png
from jattr.ledger.canonical import encode_canonical, parse_canonical
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.commitments import latent_value
from jattr.ledger.evidence.bundle import _statement, parse_bundle
from jattr.ledger.evidence.make import EvidenceRequest, make_evidence
from jattr.ledger.evidence.verify import verify_evidence
from jattr.ledger.keys import COSIGNATURE, Signer
from jattr.ledger.note import Note, parse_note, sign_note
from jattr.ledger.policy import Policy, parse_policy

pytestmark = pytest.mark.corpus

SECOND = Signer("example.net/witness", COSIGNATURE, bytes(range(1, 33)))
UNKNOWN = Signer("example.org/witness", COSIGNATURE, bytes(range(2, 34)))
TIME = 1_700_000_000


@dataclasses.dataclass
class Scene:
    """A log between two checkpoints of two witnesses, another log, and bundles of every kind."""

    mine: Owner
    policy: Policy
    start: bytes
    end: bytes
    bundles: dict[str, bytes]
    images: dict[str, bytes]
    others: dict[tuple[str, str], list[Any]]

    def fields(self, name: str) -> Fields:
        found = parse_canonical(self.bundles[name], "it", 10**8)
        del found["signature"]
        return found

    def resigned(self, fields: Fields, signer: Signer | None = None) -> bytes:
        """The fields under a signature of the log's own key."""
        note = sign_note(_statement(fields), [signer or self.mine.log.signers[0]])
        return encode_canonical(fields | {"signature": text_of(note)})

    def verify(self, name: str, data: bytes, **options: Any) -> Any:
        known = {
            "gen": tiny(),
            "others": [stranger()],
            "nonce": NONCE,
            "image": self.images[name],
        }
        return verify_evidence(
            data, self.mine.public, self.policy, **known | {"invert": search} | options
        )


def cosigned(note: bytes, signer: Signer = SECOND) -> bytes:
    found = parse_note(note)
    return sign_note(found.text, [signer], time=TIME, existing=found.signatures)


def with_lines(note: bytes, keep: Any) -> bytes:
    """A note with those signatures, in that order, that `keep` makes of its own."""
    found = parse_note(note)
    return Note(found.text, tuple(keep(list(found.signatures)))).data


def resized(scene_log: Any, note: bytes, size: int, root: bytes) -> bytes:
    """A checkpoint of another tree, signed by the log and by both witnesses."""
    text = Checkpoint(scene_log.origin, size, root).text
    return sign_note(text, [scene_log.signers[0], WITNESS, SECOND], time=TIME)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    with (
        owner(folder / "mine") as mine,
        owner(folder / "theirs", origin="example.com/other") as theirs,
    ):
        log_uses(mine, (4,))
        log_uses(mine, (4,), stranger())
        start = cosigned(mine.publish())
        log_uses(mine)
        more = latents_of(3, 6)
        mine.use(tiny(), more, pixels_of(tiny(), more))
        end = cosigned(mine.publish())
        log_uses(theirs)
        other = cosigned(theirs.publish())
        log_uses(mine, (3,))
        later = cosigned(mine.publish())
        policy = parse_policy(
            f"log {mine.keys[0].vkey}\nlog {theirs.keys[0].vkey}\nwitness w"
            f" {WITNESS.verifier.vkey}\n"
            f"witness v {SECOND.verifier.vkey}\ngroup both all w v\nquorum both\n".encode()
        )
        scene = Scene(mine, policy, start, end, {}, {}, {})
        for name, data, options in (
            ("denial", FOREIGN, {}),
            ("use", file_of(LOGGED[0]), {}),
            ("not supported", file_of(UNLOGGED), {}),
            ("incomplete", FOREIGN, {"level": "perceptual"}),
        ):
            asked = EvidenceRequest("accused.png", data, start, end, nonce=NONCE, **options)
            made = make_evidence(
                mine.log, mine.private, policy, tiny(), inverted(data), asked, [stranger()]
            )
            scene.bundles[name], scene.images[name] = made.data, data
        scene.others = other_values(scene, other, later)
        yield scene


def other_values(scene: Scene, other: bytes, later: bytes) -> dict[tuple[str, str], list[Any]]:
    """Values of the right type that belong to something else."""
    mine, end = scene.mine, scene.end
    size, root = mine.log.size - 3, mine.log.root_at(mine.log.size - 3)
    ends = {
        "another log's": other,
        "unsigned": with_lines(end, lambda s: s[1:]),
        "without the first witness": with_lines(end, lambda s: [s[0], s[2]]),
        "without the second witness": with_lines(end, lambda s: s[:2]),
        "one witness twice": with_lines(end, lambda s: [*s[:2], s[1]]),
        "an unknown witness for the second": cosigned(with_lines(end, lambda s: s[:2]), UNKNOWN),
        "a witness's name under another"
        " text": Note(parse_note(later).text, parse_note(end).signatures).data,
        "split view": resized(mine.log, end, size, bytes(32)),
        "a size too small": resized(mine.log, end, size - 1, root),
        "a size too large": resized(mine.log, end, size + 1, root),
        "beyond what is published": resized(mine.log, end, 10**6, root),
        "no note": b"no note",
    }  # fmt: skip
    z = Z[UNLOGGED] + np.float32(0.3)
    latents = [
        latent_value(z, "z"),
        latent_value(z[:5], "z"),
        latent_value(z, "w"),
        latent_value(z, "z", 0),
        b"x",
    ]
    grey = encode_png(np.full((8, 8, 3), 90, np.uint8))
    return {
        ("origin", ""): [],
        ("picture", "data"): [
            text_of(data) for data in (file_of(6), grey, b"", b"no image", FOREIGN[:-30])
        ],
        ("picture", "name"): ["another.png", ""],
        ("model", "entry"): [*range(1, 40, 3), 3, 10**6, 2**53 - 1],
        ("model", "digest"): [stranger().weights_digest, "0" * 64, "x", ""],
        ("window", "start"): [
            None,
            *(text_of(note) for note in (end, other, later, b"", with_lines(end, lambda s: s[1:]))),
        ],
        ("window", "end"): [text_of(note) for note in (scene.start, later, *ends.values())],
        ("level", ""): [],
        ("sample", "nonce"): ["another", "", NONCE + " "],
        ("sample", "wanted"): [0, 1, 7, 9, 10**6],
        ("attribution", "fit"): ["fits", "does-not-fit", "undecided", "maybe"],
        ("attribution", "certificate"): [True, False, 1],
        ("attribution", "alteration"): [
            "",
            "none",
            "blur:2",
            "jpeg:75",
            "nonsense",
            "blur:2\n",
            "rotate:90",
        ],
        ("attribution", "latent"): [None, *(text_of(data) for data in latents)],
        ("attribution", "residual"): [
            None,
            "0",
            "1",
            "nan",
            "-1",
            "1e-9",
            "1e400",
            "a text",
            "0.1 ",
        ],
        ("attribution", "restarts"): [7, 10**6],
        ("attribution", "miss_bound"): ["0.5", "1e-9"],
        ("attribution", "reason"): ["none of the candidates: it was somebody else", ""],
    }


def more_of(scene: Scene) -> list[Tampering]:
    """Whole fields that are another's."""
    found = []
    for field, values in {"origin": ["example.com/other", "example.com/model-log/", ""], "level": [
        "commitments", "perceptual", "regenerated", "PERCEPTUAL", ""]}.items():  # fmt: skip
        for value in values:
            found.append(
                Tampering(f"{field} is {value!r}", field, lambda f, k=field, v=value: f | {k: v})
            )
    swap = {"start": text_of(scene.end), "end": text_of(scene.start)}
    found.append(Tampering("the window is turned round", "window", lambda f: f | {"window": swap}))
    weights = {"entry": 3, "digest": stranger().weights_digest}
    found.append(Tampering("the weights are swapped", "model", lambda f: f | {"model": weights}))
    for name in scene.bundles:
        for field, value in scene.fields(name).items():
            label = f"{field} is that of {name}"
            found.append(Tampering(label, field, lambda f, k=field, v=value: f | {k: v}))
    return found


def named(error: Exception) -> set[str]:
    """The fields that a message begins with."""
    head, _, rest = str(error).partition(":")
    return set(re.findall(r"\w+", rest if head.startswith("the bundle lacks") else head))


def outcome(scene: Scene, name: str, data: bytes, **options: Any) -> Exception | str:
    try:
        return f"accepted: {scene.verify(name, data, **options).verdict.kind}"
    except (LedgerError, VerificationError) as error:
        return error


def all_of(scene: Scene, name: str) -> list[Tampering]:
    fields = scene.fields(name)
    found = [
        *tamperings(fields, {k: v for k, v in scene.others.items() if v}, file_of(6), name),
        *more_of(scene),
    ]
    return [one for one in found if encode(one.of(fields)) != encode(fields)]


def encode(fields: Fields) -> bytes:
    return encode_canonical(fields)


@pytest.mark.parametrize("name", ["denial", "use", "incomplete"])
def test_a_third_party_is_caught_by_the_signature(scene: Scene, name: str) -> None:
    keys, wrong = [party.key for party in scene.policy.logs], []
    signature = parse_canonical(scene.bundles[name], "it", 10**8)["signature"]
    found = all_of(scene, name)
    for one in found:
        try:
            parse_bundle(
                encode_canonical(one.of(scene.fields(name)) | {"signature": signature}), keys
            )
            wrong.append((one.label, "accepted"))
        except (LedgerError, VerificationError) as error:
            if one.field not in named(error):
                wrong.append((one.label, str(error)))
    print(
        f"{name}: {len(found)} tamperings, {len(found) - len(wrong)} rejected by the field's name"
    )
    assert wrong == []
    assert len(found) > 400


def shows_more(fields: dict[str, Any], changed: dict[str, Any]) -> bool:
    """Whether nothing changed but that further openings of the window are shown, which an owner
    may do.
    """
    one, other = ({**each, "openings": None} for each in (fields, changed))
    before, after = fields["openings"], changed["openings"]
    places = [(opening["entry"], opening["field"]) for opening in after]
    return (
        one == other
        and len(after) > len(before)
        and all(o in after for o in before)
        and places == sorted(set(places))
    )


@pytest.mark.parametrize("name", ["denial", "use", "incomplete"])
def test_the_owner_is_caught_by_recomputation(scene: Scene, name: str) -> None:
    scene.verify(name, scene.bundles[name])
    wrong, count = [], 0
    for one in all_of(scene, name):
        changed = one.of(scene.fields(name))
        if one.claim:
            continue
        error = outcome(scene, name, scene.resigned(changed))
        if isinstance(error, str) and shows_more(scene.fields(name), changed):
            continue
        count += 1
        if isinstance(error, str) or one.field not in named(error):
            wrong.append((one.label, str(error)))
    print(f"{name}: {count} tamperings, {count - len(wrong)} rejected by the field's name")
    assert wrong == []
    assert count > 400


def test_a_false_signature_names_itself(scene: Scene) -> None:
    fields = scene.fields("denial")
    others = [scene.fields(name) for name in ("use", "incomplete")]
    signatures = [
        parse_canonical(scene.resigned(other), "it", 10**8)["signature"] for other in others
    ]
    stranger_key = Signer.generate(scene.mine.log.origin)
    bad = [text_of(b""), text_of(b"no note"), "!", "", None, 7]
    for signature in [
        *bad,
        parse_canonical(scene.resigned(fields, stranger_key), "it", 10**8)["signature"],
    ]:
        error = outcome(scene, "denial", encode_canonical(fields | {"signature": signature}))
        assert isinstance(error, Exception)
        assert "signature" in named(error), error
    for signature in signatures:  # of the log's key, over other fields
        error = outcome(scene, "denial", encode_canonical(fields | {"signature": signature}))
        assert isinstance(error, VerificationError)
        assert "it is not what was signed" in str(error)


def test_another_trusted_log_cannot_speak_for_this_one(scene: Scene) -> None:
    theirs = Signer.generate("example.com/third")
    logs = f"log {scene.mine.keys[0].vkey}\nlog {theirs.verifier.vkey}\n"
    policy = parse_policy(f"{logs}witness w {WITNESS.verifier.vkey}\nquorum w\n".encode())
    data = scene.resigned(scene.fields("denial"), theirs)
    with pytest.raises(VerificationError, match=r"origin: .*another log's key has signed"):
        verify_evidence(data, scene.mine.public, policy, gen=tiny(), nonce=NONCE)


def test_what_is_the_owners_word_is_known_to_be(scene: Scene) -> None:
    """These pass when the owner signs them.

    `verify` prints them as the owner's, or one's own in their place.
    """
    passed = set()
    for name, key in CLAIMS:
        for value in scene.others[name, key]:
            fields = scene.fields("use")
            fields[name][key] = value
            found = scene.verify("use", scene.resigned(fields))
            assert not found.own_search
            passed.add((name, key))
    assert passed == CLAIMS
    fields = scene.fields("denial")
    fields["attribution"] |= {"restarts": 10**6, "reason": "a lie", "miss_bound": "1e-9"}
    found = scene.verify("denial", scene.resigned(fields))
    assert found.own_search
    assert found.attribution == inverted(FOREIGN)


def test_without_the_verifiers_image_a_swapped_one_contradicts_what_was_examined(
    scene: Scene,
) -> None:
    for name in scene.bundles:
        fields = scene.fields(name)
        fields["picture"]["data"] = text_of(file_of(6))
        error = outcome(scene, name, scene.resigned(fields), image=None)
        assert isinstance(error, VerificationError)
        assert "picture" in named(error)
