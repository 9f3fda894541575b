"""Published logs of every awkward size, and a verifier of them that shares no code with jattr.

The verifier follows RFC 6962, sections 2.1 to 2.1.2, as it is written there, and the C2SP formats,
over hashlib, base64 and an Ed25519 library. It is slow and short.
"""

import base64
import hashlib
import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from jattr.ledger.keys import COSIGNATURE, Signer
from jattr.ledger.note import parse_note, sign_note
from jattr.ledger.publish import publish
from jattr.ledger.store import LogStore

SIZES = [1, 255, 256, 257, 1_000, 65_537]
ORIGIN = "example.com/log"


def entry(index: int) -> bytes:
    """Entries of many lengths, the empty one and the longest among them."""
    if index == 3:
        return b""
    return b"%d " % index * (13_000 if index == 5 else index % 7 + 1)


def publish_log(folder: Path, size: int) -> None:
    """Make a log with `LogStore`, publish it, and lay beside it keys, receipts and consistency
    proofs.
    """
    key, witness = Signer.generate(ORIGIN), Signer.generate("example.com/witness", COSIGNATURE)
    with LogStore.create(folder / "log-of-jattr", ORIGIN, [key]) as store:
        for start in range(0, size, 10_000):
            store.append([entry(index) for index in range(start, min(start + 10_000, size))])
        signed = parse_note(store.sign_checkpoint())
        checkpoint = sign_note(
            signed.text, [witness], time=1_700_000_000, existing=signed.signatures
        )
        publish(store, folder / "public", checkpoint)
        texts = {"log": key.verifier.vkey, "witness": witness.verifier.vkey, "key": key.skey}
        for name, text in texts.items():
            (folder / name).write_text(text + "\n", encoding="utf-8")
        for name in ("receipts", "consistency"):
            (folder / name).mkdir()
        for index in some(size):
            (folder / "receipts" / f"{index}.tlog-proof").write_bytes(
                store.receipt(index, checkpoint).data
            )
            hashes = [store.root_at(index + 1), *store.consistency(index + 1, size)]
            text = b"".join(base64.b64encode(hash) + b"\n" for hash in hashes)
            (folder / "consistency" / str(index + 1)).write_bytes(text)


def some(size: int) -> list[int]:
    """Return places of a log: the first, the last, the powers of two and their neighbours, and
    50 between.
    """
    powers = {
        place for level in range(17) for place in ((1 << level) - 1, 1 << level, (1 << level) + 1)
    }
    return sorted(
        place for place in {0, size - 1, *powers, *range(0, size, size // 50 + 1)} if place < size
    )


def verify(folder: Path) -> str:
    """Verify a published log.

    Return what was checked, or fail by an exception at the first thing that is wrong.
    """
    root, size = _open((folder / "public/checkpoint").read_bytes(), folder)
    leaves: list[bytes] = []
    entries = _entries(folder / "public", size)
    leaves = [hashlib.sha256(b"\0" + data).digest() for data in entries]
    tree = _tree(leaves)
    assert tree(0, size) == root
    _check_tiles(folder / "public", tree, size)
    receipts = sorted((folder / "receipts").iterdir())
    for path in receipts:
        proof, _, checkpoint = path.read_bytes().partition(b"\n\n")
        header, index, *hashes = proof.split(b"\n")
        assert header == b"c2sp.org/tlog-proof@v1"
        assert _open(checkpoint, folder) == (root, size)
        place = int(index.removeprefix(b"index "))
        assert [base64.b64decode(hash) for hash in hashes] == _path(place, 0, size, tree)
    proofs = sorted((folder / "consistency").iterdir())
    for path in proofs:
        old_root, *hashes = [base64.b64decode(line) for line in path.read_bytes().splitlines()]
        assert old_root == tree(0, int(path.name))
        assert hashes == _proof(int(path.name), 0, size, True, tree)
    return f"{size} entries, {len(receipts)} receipts, {len(proofs)} consistency proofs"


def _open(note: bytes, folder: Path) -> tuple[bytes, int]:
    """Check both signatures of a checkpoint; return its root and its size."""
    text, _, lines = note.partition(b"\n\n")
    text += b"\n"
    signatures = {}
    for line in lines.splitlines():
        dash, name, data = line.split(b" ")
        assert dash.decode() == "\N{EM DASH}"
        signatures[name.decode(), base64.b64decode(data)[:4].hex()] = base64.b64decode(data)[4:]
    assert len(signatures) == 2
    for file, time in (("log", False), ("witness", True)):
        name, key_id, data = (folder / file).read_text(encoding="utf-8").strip().split("+", 2)
        signature, key = signatures[name, key_id], base64.b64decode(data)
        assert hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] == key_id
        if time:
            head = f"cosignature/v1\ntime {struct.unpack('>Q', signature[:8])[0]}\n".encode()
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[8:], head + text)
        else:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature, text)
    origin, size, root = text.decode().splitlines()
    assert origin == ORIGIN
    return base64.b64decode(root), int(size)


def _name(level: str, index: int, width: int) -> str:
    partial = f".p/{width}" if width < 256 else ""
    thousands = f"x{index // 1000:03d}/" if index >= 1000 else ""
    return f"tile/{level}/{thousands}{index % 1000:03d}{partial}"


def _entries(public: Path, size: int) -> list[bytes]:
    entries = []
    for start in range(0, size, 256):
        count = min(256, size - start)
        data = (public / _name("entries", start // 256, count)).read_bytes()
        for _ in range(count):
            (length,) = struct.unpack(">H", data[:2])
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
        assert data == b""
    return entries


def _check_tiles(public: Path, tree: Callable[[int, int], bytes], size: int) -> None:
    level, step = 0, 1
    while size // step:
        for start in range(0, size // step, 256):
            count = min(256, size // step - start)
            hashes = [
                tree(place * step, (place + 1) * step) for place in range(start, start + count)
            ]
            assert (public / _name(str(level), start // 256, count)).read_bytes() == b"".join(
                hashes
            )
        level, step = level + 1, step * 256


def _tree(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    @lru_cache(None)
    def mth(start: int, end: int) -> bytes:
        """MTH(D[start:end])."""
        if end - start == 1:
            return leaves[start]
        split = start + _power(end - start)
        return hashlib.sha256(b"\1" + mth(start, split) + mth(split, end)).digest()

    return mth


def _power(count: int) -> int:
    """Return the largest power of two smaller than a number."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def _path(index: int, start: int, end: int, mth: Callable[[int, int], bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if end - start == 1:
        return []
    split = start + _power(end - start)
    if index < split:
        return [*_path(index, start, split, mth), mth(split, end)]
    return [*_path(index, split, end, mth), mth(start, split)]


def _proof(
    old: int, start: int, end: int, whole: bool, mth: Callable[[int, int], bytes]
) -> list[bytes]:
    """SUBPROOF(m, D[n], b), the old tree ending at `old`."""
    if old == end:
        return [] if whole else [mth(start, end)]
    split = start + _power(end - start)
    if old <= split:
        return [*_proof(old, start, split, whole, mth), mth(split, end)]
    return [*_proof(old, split, end, False, mth), mth(start, split)]
