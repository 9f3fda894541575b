"""Erasing uses: the salts and values go, the leaves, the root and every proof stay.

What was committed to cannot be opened by anybody then. A window with erased uses supports no denial
any more, and the ERASE leaf says so to everybody.
"""

from collections.abc import Sequence

from jattr.errors import LedgerError
from jattr.ledger.leaves import EraseLeaf, IntentLeaf, ResultLeaf, commitments_of, parse_leaf
from jattr.ledger.private import PrivateStore
from jattr.ledger.store import LogStore


def erase(
    log: LogStore, private: PrivateStore, entries: Sequence[int], reason: str
) -> tuple[int, int]:
    """Delete what RESULT leaves and their INTENT leaves hide; return the ERASE entry and how many
    openings went.

    The leaf comes first: if the process ends between, erasing the same entries again completes it.

    Raises:
      LedgerError: an entry is no RESULT leaf, or the reason is no text of a leaf. Nothing is
        deleted then.
    """
    commitments: list[bytes] = []
    for number in entries:
        if number >= log.size:
            raise LedgerError(f"entry {number} is not in the log of {log.size} entries")
        leaf = parse_leaf(log.entry(number))
        if not isinstance(leaf, ResultLeaf):
            raise LedgerError(
                f"entry {number} is a {leaf.kind} leaf; give entries of results: `jattr log status`"
            )
        intent = parse_leaf(log.entry(leaf.intent))
        both = (leaf, intent) if isinstance(intent, IntentLeaf) else (leaf,)
        commitments += [bytes.fromhex(value) for each in both for _, value in commitments_of(each)]
    place = log.append([EraseLeaf(tuple(sorted(set(entries))), reason).data])[0]
    return place, private.erase(commitments)
