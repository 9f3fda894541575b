"""Policies and receipts against published vectors."""

import base64

import pytest
from ledger_vectors import vectors

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.keys import COSIGNATURE, ED25519, ML_DSA_44, Signer
from jattr.ledger.merkle import leaf_hash
from jattr.ledger.note import parse_note, sign_note
from jattr.ledger.policy import Policy, parse_policy
from jattr.ledger.tlog_proof import TlogProof, parse_tlog_proof

# the same each time: some tests are named by keys
LOG = Signer("example.com/log", ED25519, b"log." * 8)
WITNESSES = [
    Signer(f"example.com/w{number}", COSIGNATURE, bytes([number + 1]) * 32) for number in range(4)
]


def policy(rules: str) -> Policy:
    witnesses = "".join(f"witness w{i} {w.verifier.vkey}\n" for i, w in enumerate(WITNESSES))
    return parse_policy(f"log {LOG.verifier.vkey}\n{witnesses}{rules}".encode())


def signed(*numbers: int, log: Signer = LOG, time: int = 100) -> bytes:
    tree = Checkpoint("example.com/log", 1, leaf_hash(b"one"))
    return sign_note(tree.text, [log, *(WITNESSES[number] for number in numbers)], time=time)


@pytest.mark.reference
def test_policy_vectors() -> None:
    reference = vectors("tlog_policy")
    for text in reference["ok"]:
        assert parse_policy(text.encode(), lenient=True).quorum == b"g1"
    for case in reference["bad"]:
        with pytest.raises(LedgerError):
            parse_policy(case["policy"].encode(), lenient=True)
    # all of them list witnesses by keys that the specification has for logs
    for text in reference["ok"]:
        with pytest.raises(LedgerError, match=r"line [2-4]: .*type 0x01|line 4: the comment"):
            parse_policy(text.encode())


@pytest.mark.parametrize(
    ("rules", "enough", "too_few"),
    [
        ("quorum none\n", [()], []),
        ("quorum w1\n", [(1,), (0, 1)], [(), (0, 2, 3)]),
        ("group g 2 w0 w1 w2\nquorum g\n", [(0, 1), (0, 1, 2)], [(0,), (3, 0)]),
        (
            "group a any w0 w1\ngroup b all w2 w3\ngroup c all a b\nquorum c\n",
            [(0, 2, 3)],
            [(0, 1, 2), (2, 3)],
        ),
    ],
)
def test_quorums(rules: str, enough: list[tuple[int, ...]], too_few: list[tuple[int, ...]]) -> None:
    trusted = policy(rules)
    for numbers in enough:
        opened = trusted.open(signed(*numbers))
        assert opened.checkpoint.size == 1
        assert {key.name for key in opened.witnesses} == {
            WITNESSES[number].name for number in numbers
        }
        assert opened.time == (100 if numbers else None)
        assert opened.witnessed == bool(numbers)
    for numbers in too_few:
        with pytest.raises(VerificationError, match="lacks the quorum"):
            trusted.open(signed(*numbers))
        opened = trusted.without_quorum().open(signed(*numbers))
        assert (opened.witnessed, opened.time, opened.dated_by) == (False, None, ())


def timed(times: dict[int, int]) -> bytes:
    """A checkpoint that witnesses have cosigned at times of their own."""
    note = signed()
    for number, time in times.items():
        note = sign_note(
            parse_note(note).text,
            [WITNESSES[number]],
            time=time,
            existing=parse_note(note).signatures,
        )
    return note


TWO_OF_THREE = "group g 2 w0 w1 w2\nquorum g\n"
NESTED = "group a 2 w0 w1\ngroup b any w2 w3\ngroup c any a b\nquorum c\n"


@pytest.mark.parametrize(
    ("rules", "times", "time", "names"),
    [
        (TWO_OF_THREE, {0: 5, 1: 90, 2: 91}, 90, "01"),  # one that dates back alone
        (TWO_OF_THREE, {0: 90, 1: 90, 2: 2**62}, 90, "01"),
        (TWO_OF_THREE, {0: 0, 1: 90, 2: 91}, 91, "12"),  # 0 states no time
        (TWO_OF_THREE, {0: 0, 1: 90}, None, ""),
        (TWO_OF_THREE, {1: 90, 2: 80, 3: 5}, 90, "12"),  # a witness that the quorum does not name
        ("quorum w1\n", {1: 0}, None, ""),
        ("quorum w1\n", {0: 7, 1: 8}, 8, "1"),
        (NESTED, {0: 5, 2: 90, 3: 91}, 90, "2"),  # half a group counts for nothing
        (NESTED, {0: 5, 1: 60, 2: 90}, 60, "01"),
        (
            "group a 2 w0 w1\ngroup b any w2 w3\ngroup c all a b\nquorum c\n",
            {0: 5, 1: 60, 2: 1, 3: 61},
            60,
            "012",
        ),
    ],
)
def test_a_checkpoint_is_as_old_as_its_quorum(
    rules: str, times: dict[int, int], time: int | None, names: str
) -> None:
    for trusted in (policy(rules), policy(rules).without_quorum()):
        opened = trusted.open(timed(times))
        assert opened.witnessed
        assert (opened.time, opened.dated_by) == (
            time,
            tuple(f"example.com/w{name}" for name in names),
        )
        assert {key.name[-1]: time for key, time in opened.witnesses.items()} == {
            str(number): time or None for number, time in times.items()
        }


def test_who_asks_for_nobody_is_witnessed_by_nobody() -> None:
    trusted = policy("quorum none\n")
    opened = trusted.open(signed(0, 1, 2, 3))
    assert len(opened.witnesses) == 4
    assert not trusted.is_quorum(opened.witnesses)
    assert (opened.witnessed, opened.time, opened.dated_by) == (False, None, ())


@pytest.mark.parametrize("kind", [COSIGNATURE, ML_DSA_44])
def test_a_log_is_no_witness_of_its_own(kind: int) -> None:
    log = LOG if kind == COSIGNATURE else Signer("example.com/log", ML_DSA_44, LOG.seed)
    lines = [
        f"log {log.verifier.vkey}",
        f"witness w {Signer('independent.org', kind, LOG.seed).verifier.vkey}",
    ]
    for order in (lines, lines[::-1]):
        with pytest.raises(
            LedgerError,
            match=r"line 2: .* a log cannot vouch for itself. List witnesses that others",
        ):
            parse_policy("\n".join([*order, "quorum w\n"]).encode())


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("", "no quorum"),
        ("quorum w9\n", "line 6: .*not found"),
        ("quorum w1\nquorum w1\n", "line 7: a second quorum"),
        ("group g all w1 w1\nquorum g\n", "member of a group already"),
        ("group g 3 w1 w2\nquorum g\n", "from 1 to 2"),
        ("group g 0 w1 w2\nquorum g\n", "from 1 to 2"),
        ("group none any w1\nquorum none\n", "is taken"),
        ("gruop g any w1\n", "line 6: .*write"),
        (f"witness x {WITNESSES[0].verifier.vkey}\nquorum none\n", "listed twice"),
        (f"log {WITNESSES[0].verifier.vkey}\nquorum none\n", "does not do this work"),
        ("quorum none\r\n", "control byte 0x0d"),
        (
            "quorum none # no witnesses\n",
            "line 6: the comment '#' follows a statement; give it a line of its own",
        ),
        (
            f"log {Signer('example.com/b', ED25519, bytes(32)).verifier.vkey} #b\nquorum none\n",
            "line 6: the comment '#b'",
        ),
    ],
)
def test_a_policy_says_which_line_is_wrong(rules: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        policy(rules)


def test_a_plain_key_is_no_witness() -> None:
    plain = Signer("example.com/plain", ED25519, bytes(32)).verifier
    cosigning = Signer("example.com/plain", COSIGNATURE, bytes(32)).verifier
    with pytest.raises(LedgerError, match=r"line 6: .*type 0x01 \(ed25519\)") as caught:
        policy(f"witness p {plain.vkey}\nquorum p\n")
    assert cosigning.vkey in str(caught.value)
    assert (
        policy(f"  # a comment\n\t#\nwitness p {cosigning.vkey}\nquorum p\n").witnesses[b"p"].key
        == cosigning
    )


def test_groups_do_not_nest_for_ever() -> None:
    rules = (
        "group g0 any w0\n"
        + "".join(f"group g{n} any g{n - 1}\n" for n in range(1, 40))
        + "quorum g39\n"
    )
    with pytest.raises(LedgerError, match="nested"):
        policy(rules)


def test_only_the_log_itself_signs_for_it() -> None:
    other = Signer.generate("example.com/other")
    trusted = parse_policy(
        f"log {LOG.verifier.vkey}\nlog {other.verifier.vkey}\nquorum none\n".encode()
    )
    with pytest.raises(VerificationError, match="no log key of the policy has signed"):
        trusted.open(signed(log=other))
    with pytest.raises(VerificationError, match="no trusted key"):
        policy("quorum none\n").open(signed(log=other))


def test_a_log_may_sign_with_ml_dsa() -> None:
    log = Signer.generate("example.com/log", ML_DSA_44)
    trusted = parse_policy(f"log {log.verifier.vkey}\nquorum none\n".encode())
    assert trusted.open(signed(log=log)).log == log.verifier


@pytest.mark.reference
def test_receipt_vectors() -> None:
    reference = vectors("tlog_proof")
    for case in reference["marshal"]:
        hashes = tuple(base64.b64decode(hash) for hash in case["hashes_b64"])
        extra = None if case["extra"] is None else case["extra"].encode()
        proof = TlogProof(case["index"], hashes, case["checkpoint"].encode(), extra)
        assert proof.data.decode() == case["want"]
        assert parse_tlog_proof(proof.data) == proof
    for case in reference["parse_bad"]:
        text = case.get("m", "c2sp.org/tlog-proof@v1\nindex 0\n" + "a" * 65 * 1024 + "\n")
        with pytest.raises(LedgerError):
            parse_tlog_proof(text.encode())


def test_a_receipt_holds_for_its_entry_alone() -> None:
    proof = TlogProof(0, (), signed(1))
    assert proof.verify(b"one", policy("quorum w1\n")).checkpoint.size == 1
    with pytest.raises(VerificationError, match="does not lead to the root"):
        proof.verify(b"two", policy("quorum w1\n"))
    with pytest.raises(VerificationError, match="lacks the quorum"):
        proof.verify(b"one", policy("quorum w2\n"))


@pytest.mark.reference
def test_a_real_entry_of_rekor() -> None:
    entry = vectors("tlog_checkpoint")["real_rekor_v2_entry"]["tlog_entry"]
    from jattr.ledger.checkpoint import parse_checkpoint
    from jattr.ledger.merkle import verify_inclusion
    from jattr.ledger.note import parse_note

    proof = entry["inclusionProof"]
    tree = parse_checkpoint(parse_note(proof["checkpoint"]["envelope"].encode()).text)
    hashes = [base64.b64decode(hash) for hash in proof["hashes"]]
    assert tree.root == base64.b64decode(proof["rootHash"])
    body = base64.b64decode(entry["canonicalizedBody"])
    verify_inclusion(leaf_hash(body), int(proof["logIndex"]), tree.size, hashes, tree.root)
