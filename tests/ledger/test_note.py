"""Signed notes, keys and checkpoints against published vectors and hostile spellings."""

import base64

import pytest
from ledger_vectors import vectors

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.encoding import parse_base64, parse_decimal
from jattr.ledger.keys import (
    COSIGNATURE,
    ED25519,
    ML_DSA_44,
    Signer,
    Verifier,
    parse_skey,
    parse_vkey,
)
from jattr.ledger.note import open_note, parse_note, sign_note

TEXT = Checkpoint("example.com/log", 3, bytes(32)).text
KINDS = [ED25519, COSIGNATURE, ML_DSA_44]


def refused(call: object, *args: object) -> bool:
    try:
        call(*args)  # type: ignore[operator]
    except (LedgerError, VerificationError):
        return True
    return False


@pytest.mark.reference
def test_ed25519_vectors() -> None:
    for name in ("ed25519_rfc8032", "ed25519_sign_input_1024"):
        for case in vectors(name)["vectors"]:
            signer = Signer("a", ED25519, bytes.fromhex(case["seed"]))
            assert signer.verifier.public.hex() == case["public"]
            message, signature = bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
            # messages of these vectors are not texts
            assert signer._key().sign(message) == signature


@pytest.mark.reference
def test_wycheproof() -> None:
    from cryptography.exceptions import InvalidSignature

    from jattr.ledger import keys

    cases = vectors("ed25519_wycheproof")["vectors"]
    for case in cases:
        try:
            key = keys._public_key(ED25519, bytes.fromhex(case["pk"]))
            key.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            valid = True
        except InvalidSignature:
            valid = False
        assert valid == (case["result"] == "valid"), case["tcId"]
    assert len(cases) == 151


@pytest.mark.reference
def test_signed_note_vectors() -> None:
    reference = vectors("signed_note")
    for case in reference["sign"]:
        assert sign_note(case["text"], [parse_skey(case["skey"])]).decode() == case["want_msg"]
    for case in [
        *reference["open_ok"],
        reference["c2sp_examples"] | {"vkeys": [reference["c2sp_examples"]["vkey"]]},
    ]:
        opened = open_note(case["msg"].encode(), [parse_vkey(key) for key in case["vkeys"]])
        names = [f"{key.name}+{key.key_id.hex()}" for key in opened.verified]
        assert names == case.get("verified", names)
        unknown = [f"{line.name}+{line.key_id.hex()}" for line in opened.unknown]
        assert unknown == case.get("unverified", unknown)
    for case in reference["open_bad"]:
        data = base64.b64decode(case["msg_b64"])
        assert refused(
            lambda case=case, data=data: open_note(data, [parse_vkey(key) for key in case["vkeys"]])
        ), case
    assert len(reference["open_bad"]) == 11


@pytest.mark.reference
def test_key_texts() -> None:
    reference = vectors("signed_note")
    skey = reference["sign"][0]["skey"]
    for vkey in reference["vkey_ok"]:
        assert parse_vkey(vkey).vkey == vkey
    for vkey in reference["vkey_bad"]:
        assert refused(parse_vkey, vkey)
    for text, parse in ((reference["vkey_ok"][0], parse_vkey), (skey, parse_skey)):
        for start in range(len(text)):
            for end in range(start, len(text) + 1):
                assert text[start:end] == text or refused(parse, text[start:end])
        for place in range(len(text)):
            assert refused(parse, text[:place] + chr(ord(text[place]) + 1) + text[place + 1 :])


def test_a_private_key_in_the_wrong_place_is_not_repeated() -> None:
    signer = Signer.generate("l")
    with pytest.raises(LedgerError, match="this is a private key") as caught:
        parse_vkey(signer.skey)
    assert signer.skey[-40:-4] not in str(caught.value)


def test_texts_without_utf_8_and_names_that_cannot_be_printed() -> None:
    vkey = Signer.generate("example.com/log").verifier.vkey
    for letter in "\ud800\u202e\ufeff\u2028\x7f\xa0":
        for text in (vkey + letter, vkey.replace("com", letter), letter + vkey):
            with pytest.raises(LedgerError) as caught:
                parse_vkey(text)
            assert str(caught.value).isprintable()
        with pytest.raises(LedgerError, match=r"origin|UTF-8"):
            parse_checkpoint(TEXT.replace("com", letter))


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_signs_and_every_flipped_bit_is_noticed(kind: int) -> None:
    signer = Signer.generate("example.com/log", kind)
    assert parse_skey(signer.skey) == signer
    assert parse_vkey(signer.verifier.vkey) == signer.verifier
    assert signer.skey not in repr(signer)
    assert repr(signer.seed) not in repr(signer)
    data = sign_note(TEXT, [signer], time=17)
    assert open_note(data, [signer.verifier]).verified == {
        signer.verifier: None if kind == ED25519 else 17
    }
    step = 97 if kind == ML_DSA_44 else 1  # 2,420 bytes: every 97th bit
    for bit in range(0, 8 * len(data), step):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        assert refused(open_note, bytes(bad), [signer.verifier]), bit


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    log, witness = (
        Signer.generate("example.com/log"),
        Signer.generate("example.com/witness", COSIGNATURE),
    )
    other = sign_note(Checkpoint("example.com/log", 4, bytes(32)).text, [witness], time=5)
    data = sign_note(TEXT, [log], existing=parse_note(other).signatures)
    assert open_note(data, [log.verifier]).unknown[0].name == "example.com/witness"
    with pytest.raises(VerificationError, match=r"invalid signature of example\.com/witness"):
        open_note(data, [log.verifier, witness.verifier])
    with pytest.raises(VerificationError, match="no trusted key"):
        open_note(data, [Signer.generate("example.com/log").verifier])


def test_signing_again_replaces_the_line_of_the_same_key() -> None:
    witness = Signer.generate("w", COSIGNATURE)
    once = sign_note(TEXT, [witness], time=1)
    twice = sign_note(TEXT, [witness], time=2, existing=parse_note(once).signatures)
    assert open_note(twice, [witness.verifier]).verified == {witness.verifier: 2}
    assert len(parse_note(twice).signatures) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"00",
        b"01",
        b"+1",
        b"-1",
        b" 1",
        b"1 ",
        b"1_0",
        b"1e3",
        "\N{ARABIC-INDIC DIGIT ONE}".encode(),
        b"9223372036854775808",
        b"12345678901234567890",
    ],
)
def test_sizes_have_one_spelling(text: bytes) -> None:
    with pytest.raises(LedgerError, match="number from 0"):
        parse_decimal(text, "it")


@pytest.mark.parametrize(
    "text", [b"AA", b"AB==", b"AA==\n", b" AA==", b"A-==", b"A_==", b"AA=", b"=", "Ä".encode()]
)
def test_base64_has_one_spelling(text: bytes) -> None:
    with pytest.raises(LedgerError, match="canonical"):
        parse_base64(text, "it")


@pytest.mark.reference
def test_checkpoint_vectors() -> None:
    reference = vectors("tlog_checkpoint")
    for case in reference["formats"]["parse_bad"]:
        assert refused(parse_checkpoint, case["m"]), case["desc"]
    # the fifth has empty extension lines, which C2SP forbids
    for case in reference["formats"]["parse_ok"][:4]:
        origin, size, _, *rest = case["m"].split("\n")
        # theirs are no SHA-256 hashes
        text = "\n".join([origin, size, base64.b64encode(bytes(32)).decode(), *rest])
        parsed = parse_checkpoint(text)
        assert (parsed.origin, parsed.size, parsed.text) == (origin, int(size), text)
    example = reference["c2sp"]["checkpoint_example"]
    assert parse_checkpoint(parse_note(example.encode()).text).size == 20852163
    for witnessed in (reference["real_witnessed_checkpoint"]["msg"],):
        assert len(parse_note(witnessed.encode()).signatures) == 3


@pytest.mark.reference
def test_cosignature_times() -> None:
    reference = vectors("tlog_checkpoint")
    for case in reference["cosignature_timestamp"]["ok"]:
        data = parse_base64(case["b64"].encode(), "it")
        assert int.from_bytes(data[4:12], "big") == case["unix"]
    line = reference["c2sp"]["cosigned_example_line"]
    signature = parse_note(f"{TEXT}\n{line}\n".encode()).signatures[0]
    assert int.from_bytes(signature.signed[:8], "big") == 1679315147


def test_other_kinds_of_key_are_refused() -> None:
    with pytest.raises(LedgerError, match="type 0x02"):
        Verifier("a", 2, bytes(32))
    with pytest.raises(LedgerError, match="31 bytes"):
        Verifier("a", ED25519, bytes(31))
    with pytest.raises(LedgerError, match="without spaces"):
        Verifier("a b", ED25519, bytes(32))
