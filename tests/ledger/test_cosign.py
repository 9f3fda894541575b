"""A log has its checkpoints cosigned by the witnesses of its policy, over HTTP on loopback."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ledger_trees import Tree, tree_of
from test_witness_http import running

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.cosign import Cosigned, cosign
from jattr.ledger.keys import COSIGNATURE, ML_DSA_44, Signer, Verifier
from jattr.ledger.merkle import consistency_proof
from jattr.ledger.note import Signature, parse_note, sign_note
from jattr.ledger.policy import Policy, parse_policy
from jattr.ledger.publish import publish
from jattr.ledger.reader import PublishedLog
from jattr.ledger.store import LogStore
from jattr.ledger.witness import Request, Witness
from jattr.ledger.witness_http import WitnessServer, ask_witness
from jattr.ledger.witness_store import WitnessStore

LOG = Signer.generate("example.com/log")


class Log:
    """A log in memory that counts the proofs it gives."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.proofs = tree, []

    def consistency(self, old: int, new: int) -> Sequence[bytes]:
        self.proofs.append((old, new))
        return consistency_proof(old, new, self.tree.node)

    def checkpoint(self, size: int) -> bytes:
        return sign_note(Checkpoint("example.com/log", size, self.tree.root(size)).text, [LOG])


@pytest.fixture
def log() -> Log:
    return Log(tree_of(300))


@pytest.fixture
def keys() -> list[list[Signer]]:
    return [
        [Signer.generate(f"w{number}", kind) for kind in kinds]
        for number, kinds in enumerate([[COSIGNATURE], [COSIGNATURE], [COSIGNATURE, ML_DSA_44]])
    ]


@pytest.fixture
def urls(tmp_path: Path, keys: list[list[Signer]]) -> Iterator[list[str]]:
    with contextlib.ExitStack() as stack:
        found = []
        for number, signers in enumerate(keys):
            store = stack.enter_context(WitnessStore.create(tmp_path / str(number), signers))
            found.append(
                stack.enter_context(running(WitnessServer(Witness(store, [LOG.verifier]))))
            )
        yield found


def policy(keys: list[list[Signer]], urls: Sequence[str], quorum: str) -> Policy:
    lines = [f"log {LOG.verifier.vkey}"]
    for number, (signers, url) in enumerate(zip(keys, urls, strict=False)):
        lines += [
            f"witness w{number}-{signer.kind} {signer.verifier.vkey} {url}" for signer in signers
        ]
    return parse_policy("\n".join([*lines, quorum]).encode() + b"\n")


def test_all_witnesses_of_a_policy(log: Log, keys: list[list[Signer]], urls: list[str]) -> None:
    trusted = policy(keys, urls, "group each all w0-4 w1-4 w2-4 w2-6\nquorum each\n")
    asked = []

    def ask(url: str, keys: Sequence[Verifier], request: Request) -> list[Signature] | int:
        asked.append(request.old)
        return ask_witness(url, keys, request)

    first = cosign(log, trusted, log.checkpoint(5), ask=ask)
    assert (first.failures, len(first.opened.witnesses), asked) == ({}, 4, [0, 0, 0])
    assert trusted.open(first.checkpoint) == first.opened
    second = cosign(log, trusted, log.checkpoint(256), previous=first.checkpoint, ask=ask)
    assert (second.failures, asked[3:], log.proofs) == ({}, [5, 5, 5], [(5, 256)] * 3)
    # it does not know how much they have seen
    third = cosign(log, trusted, log.checkpoint(300), ask=ask)
    assert (third.failures, asked[6:]) == ({}, [0, 0, 0, 256, 256, 256])
    again = cosign(log, trusted, third.checkpoint, ask=ask)
    assert (again.checkpoint, len(asked)) == (third.checkpoint, 12)


def test_a_witness_that_fails_is_named_and_may_be_too_many(
    log: Log, keys: list[list[Signer]], urls: list[str]
) -> None:
    refused = ["http://127.0.0.1:1", *urls[1:]]
    two = cosign(
        log, policy(keys, refused, "group g 2 w0-4 w1-4 w2-4\nquorum g\n"), log.checkpoint(5)
    )
    assert {key.name for key in two.opened.witnesses} == {"w1", "w2"}
    assert list(two.failures) == ["w0-4"]
    assert "ConnectionRefusedError" in two.failures["w0-4"]
    with pytest.raises(VerificationError, match=r"lacks the quorum .*; w0-4: it cannot be reached"):
        cosign(
            log, policy(keys, refused, "group g all w0-4 w1-4 w2-4\nquorum g\n"), log.checkpoint(5)
        )
    later = cosign(
        log, policy(keys, urls, "group g all w0-4 w1-4 w2-4\nquorum g\n"), two.checkpoint
    )
    assert len(later.opened.witnesses) == 4, "what it had is kept, who was away is asked"


def test_a_key_that_the_witness_does_not_have(
    log: Log, keys: list[list[Signer]], urls: list[str]
) -> None:
    keys = [[keys[0][0], Signer.generate("w0", ML_DSA_44)]]
    result = cosign(log, policy(keys, urls, "quorum w0-4\n"), log.checkpoint(5))
    assert result.failures == {"w0-6": "it did not sign with this key"}


def test_no_witnesses_and_no_urls(log: Log, keys: list[list[Signer]]) -> None:
    alone = parse_policy(f"log {LOG.verifier.vkey}\nquorum none\n".encode())
    assert cosign(log, alone, log.checkpoint(5)).checkpoint == log.checkpoint(5)
    unknown = parse_policy(
        f"log {LOG.verifier.vkey}\nwitness w {keys[0][0].verifier.vkey}\nquorum w\n".encode()
    )
    with pytest.raises(VerificationError, match="w: the policy states no URL"):
        cosign(log, unknown, log.checkpoint(5))


def test_a_log_that_has_gone_back_gets_no_cosignature(
    log: Log, keys: list[list[Signer]], urls: list[str]
) -> None:
    trusted = policy(keys[:1], urls, "quorum w0-4\n")
    first = cosign(log, trusted, log.checkpoint(200))
    with pytest.raises(VerificationError, match="cosigned 200 entries, this checkpoint has 100"):
        cosign(log, trusted, log.checkpoint(100))
    with pytest.raises(VerificationError, match="cosigned 200 entries, this checkpoint has 100"):
        cosign(log, trusted, log.checkpoint(100), previous=first.checkpoint)
    rewritten = Log(tree_of(300, salt=b"rewritten"))
    for size in (200, 300):
        with pytest.raises(VerificationError, match=r"w0-4: it refuses \(422\)"):
            cosign(rewritten, trusted, rewritten.checkpoint(size))
    assert cosign(log, trusted, log.checkpoint(201)).failures == {}


def test_a_checkpoint_that_is_not_the_policys(
    log: Log, keys: list[list[Signer]], urls: list[str]
) -> None:
    stranger = Signer.generate("example.com/log")
    note = sign_note(Checkpoint("example.com/log", 5, log.tree.root(5)).text, [stranger])
    with pytest.raises(VerificationError, match="no trusted key"):
        cosign(log, policy(keys, urls, "quorum none\n"), note)
    with pytest.raises(LedgerError, match="note"):
        cosign(log, policy(keys, urls, "quorum none\n"), b"")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([7], "cosigned 7 entries, this checkpoint has 5"),
        ([3, 4], "cosigned 4 entries and does not take the proof"),
        ([0], "cosigned 0 entries and does not take the proof"),
        ([5, 5], "cosigned 5 entries and does not take the proof"),
    ],
)
def test_a_witness_that_changes_its_mind(
    log: Log, keys: list[list[Signer]], answers: list[int], message: str
) -> None:
    left = list(answers)
    with pytest.raises(VerificationError, match=message):
        cosign(
            log,
            policy(keys, ["http://w"], "quorum w0-4\n"),
            log.checkpoint(5),
            ask=lambda *_: left.pop(0),
        )
    assert not left


def test_a_witness_that_has_gone_back_is_not_asked_again(
    log: Log, keys: list[list[Signer]], urls: list[str]
) -> None:
    trusted = policy(keys[:1], urls, "quorum w0-4\n")
    first = cosign(log, trusted, log.checkpoint(5))
    with pytest.raises(
        VerificationError,
        match="it has gone back: it cosigned 5 entries before, and now speaks of 2",
    ):
        cosign(log, trusted, log.checkpoint(9), previous=first.checkpoint, ask=lambda *_: 2)


def test_cosignatures_stand_after_the_logs_signature(
    log: Log, keys: list[list[Signer]], urls: list[str]
) -> None:
    result: Cosigned = cosign(log, policy(keys, urls, "quorum none\n"), log.checkpoint(5))
    assert result.checkpoint.startswith(log.checkpoint(5))
    assert parse_note(result.checkpoint).signatures[0].name == "example.com/log"


def test_a_store_is_cosigned_and_published(
    tmp_path: Path, keys: list[list[Signer]], urls: list[str]
) -> None:
    trusted = policy(keys, urls, "group two 2 w0-4 w1-4 w2-6\nquorum two\n")
    previous = None
    with LogStore.create(tmp_path / "log", "example.com/log", [LOG]) as store:
        for size in (1, 300):
            store.append([b"%d" % index for index in range(store.size, size)])
            cosigned = cosign(store, trusted, store.sign_checkpoint(), previous=previous)
            publish(store, tmp_path / "public", cosigned.checkpoint)
            previous = PublishedLog(tmp_path / "public").checkpoint()
            assert trusted.open(previous).checkpoint == cosigned.opened.checkpoint
            assert (
                store.receipt(0, previous).verify(b"0", trusted).witnesses
                == cosigned.opened.witnesses
            )
    assert len(cosigned.opened.witnesses) == 4
