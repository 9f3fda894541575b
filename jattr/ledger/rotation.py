"""A new key for a log, so that a process that dies at any point leaves a log that opens and can go
on.

    the new key is on the disk -> the KEY leaf is -> (policies take both keys)
    -> the log signs with the new key

A leaf whose key was lost would announce a key with which nobody can ever sign. A key that no leaf
announces is one line too many in a file.
"""

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.identity import read_private
from jattr.ledger.keys import ED25519, Signer
from jattr.ledger.leaves import KeyLeaf, parse_leaf
from jattr.ledger.store import LogStore


def announce_key(log: LogStore) -> tuple[int, Signer]:
    """Keep a new Ed25519 key, then append the leaf that announces it; `LogStore.rotate` is what is
    left to do.

    Where an earlier rotation ended after its leaf, that one is gone on with: no second key is made.

    Returns:
      The entry of the leaf, and the new key.

    Raises:
      LedgerError: the key or the leaf cannot be written; the log signs with the old key.
    """
    if found := _begun(log):
        return found
    new = Signer.generate(log.origin, ED25519)
    log.keep_key(new)
    return log.append([KeyLeaf.signed(log.signers[0], new).data])[0], new


def _begun(log: LogStore) -> tuple[int, Signer] | None:
    """Return the last rotation away from the key that signs now, if its new key is here."""
    private, old, found = read_private(log.folder), log.signers[0].verifier.vkey, None
    known = {key.vkey: signer for key, signer in private.items()}
    for number, entry in enumerate(log.entries(0, log.size)):
        if b'"kind":"key"' not in entry:
            continue
        try:
            leaf = parse_leaf(entry)
            if isinstance(leaf, KeyLeaf) and leaf.old == old and leaf.new in known:
                leaf.verify()
                found = number, known[leaf.new]
        except (LedgerError, VerificationError):
            continue  # somebody else's entry
    return found
