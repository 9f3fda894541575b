"""A witness never goes back: not by request, not by restart, not by clock, not in a race."""

import base64
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ledger_trees import tree_of
from ledger_vectors import vectors
from log_files import full_disk

from jattr.errors import LedgerError, OutputError, VerificationError
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.encoding import encode_base64
from jattr.ledger.keys import COSIGNATURE, ED25519, ML_DSA_44, Signer, Verifier
from jattr.ledger.merkle import EMPTY_ROOT, consistency_proof
from jattr.ledger.note import open_note, parse_note, sign_note
from jattr.ledger.witness import CLOCK_STEP, Witness, cosigning_time, make_request, parse_request
from jattr.ledger.witness_store import FILE, WitnessStore

LOG = Signer.generate("example.com/log")
KEY = Signer.generate("example.com/witness", COSIGNATURE)
TREE = tree_of(300)


class Clock:
    """A clock that is set by hand, seconds since 1970."""

    now = 1_700_000_000

    def __call__(self) -> float:
        return self.now + 0.9


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def witness(tmp_path: Path, clock: Clock) -> Iterator[Witness]:
    with WitnessStore.create(tmp_path, [KEY]) as store:
        yield Witness(store, [LOG.verifier], clock=clock)


def checkpoint(
    size: int, *, tree: object = TREE, root: bytes | None = None, log: Signer = LOG
) -> bytes:
    return sign_note(Checkpoint("example.com/log", size, root or tree.root(size)).text, [log])  # type: ignore[attr-defined]


def request(old: int, new: int, *, to: bytes | None = None) -> bytes:
    proof = consistency_proof(old, new, TREE.node) if 0 < old <= new else []
    return make_request(old, proof, to or checkpoint(new)).data


def ask(witness: Witness, old: int, new: int, **changed: bytes) -> tuple[int, bytes]:
    response = witness.add_checkpoint(request(old, new, **changed))
    return response.status, response.body


def time_of(answer: tuple[int, bytes], new: int, key: Verifier = KEY.verifier) -> int | None:
    assert answer[0] == 200, answer
    return open_note(checkpoint(new) + answer[1], [LOG.verifier, key]).verified[key]


@pytest.mark.reference
def test_published_requests(tmp_path: Path) -> None:
    reference = vectors("tlog_witness")["litewitness"]
    log = Verifier(reference["log_origin"], ED25519, bytes.fromhex(reference["log_pubkey_hex"]))
    with WitnessStore.create(tmp_path, [KEY]) as store:
        witness = Witness(store, [log])
        for number, case in enumerate(reference["requests_in_order"]):
            response = witness.add_checkpoint(case["body"].encode())
            # 403 when the vectors were written, 404 in version 1.0.0
            unknown = "unknown log" in case["asserts"]
            assert response.status == (404 if unknown else case["want_status"]), number
            if "==" in case["asserts"]:
                assert response.body == case["asserts"].split('"')[1].replace("\\n", "\n").encode()
                assert response.content_type == "text/x.tlog.size"
            else:
                assert case["asserts"].split('"')[1] in response.body.decode()
        with store.transaction() as memory:
            last = memory.last_cosigned(log.name)
        assert last is not None
        assert last.size == reference["final_size"]


@pytest.mark.reference
def test_published_bodies() -> None:
    reference = vectors("tlog_witness")["parse_body"]
    hashes = [bytes([number]) * 32 for number in range(2)]
    for case in reference["cases"]:
        prefix = (
            case["prefix"]
            .replace("abc=", encode_base64(hashes[0]))
            .replace("def=", encode_base64(hashes[1]))
        )
        body = (prefix + reference["checkpoint"]).encode()  # theirs are no SHA-256 hashes
        if case["ok"]:
            parsed = parse_request(body)
            assert (parsed.old, list(parsed.proof), parsed.data) == (case["size"], hashes, body)
        else:
            with pytest.raises(LedgerError):
                parse_request(body)


def test_a_log_grows_under_its_witness(witness: Witness, clock: Clock) -> None:
    for old, new in ((0, 1), (1, 1), (1, 7), (7, 8), (8, 256), (256, 300)):
        clock.now += 10
        assert time_of(ask(witness, old, new), new) == clock.now


def test_every_code_of_the_protocol(witness: Witness) -> None:
    assert ask(witness, 0, 5)[0] == 200
    other = tree_of(300, salt=b"other")
    stranger = Signer.generate("example.com/log")
    proof = consistency_proof(5, 9, TREE.node)
    wrong = sign_note(Checkpoint("example.com/log", 9, TREE.root(9)).text, [LOG]).replace(
        b"\n9\n", b"\n8\n"
    )
    elsewhere = Signer.generate("example.com/other")
    unknown = sign_note(Checkpoint("example.com/other", 9, TREE.root(9)).text, [elsewhere])
    cases = [
        (404, make_request(5, proof, unknown).data, b"unknown log"),
        (403, make_request(5, proof, checkpoint(9, log=stranger)).data, b"no trusted key"),
        (403, make_request(5, proof, wrong).data, b"invalid signature"),
        (400, make_request(10, [], checkpoint(9)).data, b"above that of the checkpoint"),
        (409, make_request(0, [], checkpoint(9)).data, b"5\n"),
        (409, make_request(4, consistency_proof(4, 9, TREE.node), checkpoint(9)).data, b"5\n"),
        (409, make_request(3, [], checkpoint(3)).data, b"5\n"),
        (422, make_request(5, proof[:-1], checkpoint(9)).data, b"consistency proof"),
        (422, make_request(5, [*proof, bytes(32)], checkpoint(9)).data, b"consistency proof"),
        (422, make_request(5, proof, checkpoint(9, tree=other)).data, b"consistency proof"),
        (422, make_request(5, proof, checkpoint(5)).data, b"needless proof"),
        (422, make_request(5, [], checkpoint(5, tree=other)).data, b"two different roots"),
        (403, request(5, 9)[:-1], b"invalid signature"),
        (400, request(5, 9).replace(b"\n9\n", b"\n09\n"), b"leading zeroes"),
        (400, b"", b"no empty line"),
        (400, request(5, 9).replace(b"old 5", b"old 05"), b"leading zeroes"),
        (400, request(5, 9).replace(b"old ", b"new "), b"old N"),
        (400, request(5, 9).replace(b"old 5\n", b"old 5\n" + b"AA==\n"), b"1 bytes"),
        (400, request(5, 9).replace(b"old 5\n", b"old 5\r\n"), b"the old size"),
        (400, request(5, 9).replace(b"example.com", b"\xff"), b"UTF-8"),
        (
            400,
            request(5, 9).replace(
                b"old 5\n", b"old 5\n" + (encode_base64(bytes(32)) + "\n").encode() * 64
            ),
            b"63",
        ),
        (400, request(5, 9) + b"x" * (1 << 18), b"at most"),
    ]
    for status, body, message in cases:
        response = witness.add_checkpoint(body)
        assert (response.status, message in response.body) == (status, True), (response, message)
        assert (response.content_type == "text/x.tlog.size") is (status == 409)
        assert "\N{EM DASH}".encode() not in response.body or status == 403
    assert ask(witness, 5, 9)[0] == 200, "nothing of all that was remembered"


def test_an_empty_log(witness: Witness) -> None:
    assert ask(witness, 0, 0, to=checkpoint(0, root=bytes(32)))[0] == 422
    assert ask(witness, 0, 0)[0] == 200
    assert witness.add_checkpoint(make_request(0, [bytes(32)], checkpoint(3)).data).status == 422
    assert ask(witness, 0, 3)[0] == 200
    assert TREE.root(0) == EMPTY_ROOT


def test_it_never_goes_back_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    with WitnessStore.create(tmp_path, [KEY]) as store:
        assert ask(Witness(store, [LOG.verifier], clock=clock), 0, 200)[0] == 200
    for _ in range(2):
        with WitnessStore.open(tmp_path) as store:
            witness = Witness(store, [LOG.verifier], clock=clock)
            assert ask(witness, 0, 100) == (409, b"200\n")
            assert ask(witness, 100, 100) == (409, b"200\n")
            assert ask(witness, 200, 200)[0] == 200
            assert store.signers == (KEY,)


def test_a_clock_that_runs_back(tmp_path: Path, clock: Clock) -> None:
    start = clock.now
    with WitnessStore.create(tmp_path, [KEY]) as store:
        assert time_of(ask(Witness(store, [LOG.verifier], clock=clock), 0, 1), 1) == start
    with WitnessStore.open(tmp_path) as store:
        witness = Witness(store, [LOG.verifier], clock=clock)
        clock.now = start - CLOCK_STEP
        assert time_of(ask(witness, 1, 2), 2) == start, "the last time again"
        clock.now = start - CLOCK_STEP - 1
        status, body = ask(witness, 2, 3)
        assert (status, b"clock" in body) == (503, True)
        clock.now = start + 1
        assert time_of(ask(witness, 2, 3), 3) == start + 1


@pytest.mark.parametrize(
    ("now", "last", "time"),
    [
        (5, 0, 5),
        (5, 5, 5),
        (0, 0, None),
        (-5, 0, None),
        (10, 300, 300),
        (0, 300, 300),
        (0, 301, None),
        (-9, 300, None),
    ],
)
def test_times_never_decrease(now: int, last: int, time: int | None) -> None:
    assert cosigning_time(now, last) == time


def test_of_two_requests_at_once_one_wins(tmp_path: Path, clock: Clock) -> None:
    with WitnessStore.create(tmp_path, [KEY]) as one, WitnessStore.open(tmp_path) as two:
        witnesses = [Witness(store, [LOG.verifier], clock=clock) for store in (one, two)]
        size = 1
        assert ask(witnesses[0], 0, size)[0] == 200
        for _ in range(10):
            start, answers = threading.Barrier(6), []

            def send(
                number: int,
                size: int = size,
                start: threading.Barrier = start,
                answers: list = answers,
            ) -> None:
                body = request(size, size + 1 + number)
                start.wait(30)
                answers.append((witnesses[number % 2].add_checkpoint(body), size + 1 + number))

            threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            won = [new for response, new in answers if response.status == 200]
            assert len(answers) == 6
            assert len(won) == 1
            lost = {response.body for response, _ in answers if response.status == 409}
            assert lost == {f"{won[0]}\n".encode()}
            size = won[0]


@pytest.mark.slow
def test_killed_at_any_moment_it_remembers_what_it_answered(tmp_path: Path) -> None:
    WitnessStore.create(tmp_path, [KEY]).__exit__()
    program = Path(__file__).with_name("witness_to_kill.py")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    answered = 0
    for round_ in range(5):
        with subprocess.Popen(
            [sys.executable, str(program), str(tmp_path), LOG.skey, str(answered)],
            stdout=subprocess.PIPE,
            env=environment,
        ) as process:
            assert process.stdout is not None
            for _ in range(3 + round_):
                answered = int(process.stdout.readline())
            process.kill()
            rest = process.stdout.read().split(b"\n")
        answered = max([answered, *(int(line) for line in rest[:-1] if line)])
        with WitnessStore.open(tmp_path) as store, store.transaction() as memory:
            last = memory.last_cosigned("example.com/log")
            assert last is not None
            assert last.size >= answered
            answered = last.size


def test_the_file_itself_refuses_to_go_back(witness: Witness) -> None:
    assert ask(witness, 0, 5)[0] == 200
    with closing(sqlite3.connect(witness.store.folder / FILE)) as db:
        for change in (
            "UPDATE seen SET size = 4",
            "UPDATE seen SET time = time - 1",
            "UPDATE seen SET root = zeroblob(32)",
            "DELETE FROM seen",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="a witness never"):
                db.execute(change)


def test_a_log_with_two_histories_is_kept_as_proof(witness: Witness) -> None:
    other = tree_of(300, salt=b"other")
    assert ask(witness, 0, 5)[0] == 200
    assert witness.store.split_views() == []
    for _ in range(2):
        assert ask(witness, 5, 5, to=checkpoint(5, tree=other))[0] == 422
    (proof,) = witness.store.split_views()
    roots = set()
    for note in (proof.first, proof.second):
        text = open_note(note, [LOG.verifier]).text
        assert text.startswith("example.com/log\n5\n")
        roots.add(text)
    assert len(roots) == 2


def test_only_the_signatures_of_the_log_are_kept(witness: Witness) -> None:
    others = [Signer.generate(f"s{number}") for number in range(90)]
    text = Checkpoint("example.com/log", 2, TREE.root(2)).text
    assert ask(witness, 0, 2, to=sign_note(text, [*others, LOG]))[0] == 200
    with witness.store.transaction() as memory:
        last = memory.last_cosigned("example.com/log")
    assert last is not None
    assert last.note == checkpoint(2)


def test_keys_of_two_types_and_logs_with_two_keys(tmp_path: Path, clock: Clock) -> None:
    large = Signer.generate("example.com/witness", ML_DSA_44)
    second = Signer.generate("example.com/log")
    with WitnessStore.create(tmp_path, [KEY, large]) as store:
        witness = Witness(store, [LOG.verifier, second.verifier], clock=clock)
        answer = ask(witness, 0, 3, to=checkpoint(3, log=second))
        assert answer[0] == 200
        keys = [second.verifier, KEY.verifier, large.verifier]
        verified = open_note(checkpoint(3, log=second) + answer[1], keys).verified
        assert verified == {keys[0]: None, keys[1]: clock.now, keys[2]: clock.now}
        with pytest.raises(LedgerError, match="255 bytes"):
            Witness(store, [Signer.generate("l" * 256).verifier])


def test_a_witness_that_is_closed_does_not_answer(tmp_path: Path) -> None:
    with WitnessStore.create(tmp_path, [KEY]) as store:
        witness = Witness(store, [LOG.verifier])
    assert ask(witness, 0, 5)[0] == 500


def test_what_it_cannot_write_it_does_not_cosign(witness: Witness) -> None:
    assert ask(witness, 0, 5)[0] == 200
    witness.store.file.connection.execute("PRAGMA query_only = ON")
    status, body = ask(witness, 5, 6)
    assert (status, b"cannot write" in body) == (500, True)
    witness.store.file.connection.execute("PRAGMA query_only = OFF")
    assert ask(witness, 5, 7)[0] == 200


def test_a_witness_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no folder of a witness"):
        WitnessStore.open(tmp_path)
    with pytest.raises(LedgerError, match="types cosignature"):
        WitnessStore.create(tmp_path, [LOG])
    with pytest.raises(LedgerError, match="types cosignature"):
        WitnessStore.create(tmp_path, [])
    with (
        WitnessStore.create(tmp_path, [KEY]) as store,
        pytest.raises(LedgerError, match="at least one log"),
    ):
        Witness(store, [])
    with pytest.raises(LedgerError, match="is there already"):
        WitnessStore.create(tmp_path, [KEY])
    assert stat.S_IMODE(os.stat(tmp_path / FILE).st_mode) == 0o600
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / FILE).write_bytes(b"not a database, " * 100)
    with pytest.raises(LedgerError, match="no memory of a witness"):
        WitnessStore.open(tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / FILE).touch()
    with pytest.raises(LedgerError, match="no memory of a witness"):
        WitnessStore.open(tmp_path / "c")


def test_a_witness_that_cannot_be_written_leaves_nothing_begun(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OutputError, match="make room"):
        WitnessStore.create(tmp_path, [KEY])
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another place"):
        WitnessStore.create(tmp_path / "file", [KEY])
    WitnessStore.create(tmp_path, [KEY]).__exit__()


@pytest.mark.parametrize("change", ["DELETE FROM keys", "UPDATE keys SET skey = x'00'"])
def test_a_witness_without_its_keys_does_not_go_on(tmp_path: Path, change: str) -> None:
    WitnessStore.create(tmp_path, [KEY]).__exit__()
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute(change)
    with pytest.raises(LedgerError, match="has no keys to cosign with"):
        WitnessStore.open(tmp_path)


def test_the_cosignature_does_not_cover_what_the_client_added(witness: Witness) -> None:
    note = parse_note(checkpoint(2))
    assert base64.b64encode(TREE.root(2)).decode() in note.text
    answer = ask(witness, 0, 2)
    with pytest.raises(VerificationError, match="invalid signature"):
        open_note(checkpoint(3) + answer[1], [LOG.verifier, KEY.verifier])
