"""A witness that cosigns a growing log and prints each size after its answer, until it is
killed.
"""

import sys

from ledger_trees import tree_of

from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.keys import parse_skey
from jattr.ledger.merkle import consistency_proof
from jattr.ledger.note import sign_note
from jattr.ledger.witness import Witness, make_request
from jattr.ledger.witness_store import WitnessStore


def main(folder: str, skey: str, start: str) -> None:
    log, tree = parse_skey(skey), tree_of(100_000)
    with WitnessStore.open(folder) as store:
        witness = Witness(store, [log.verifier])
        for size in range(int(start), 100_000):
            proof = consistency_proof(size, size + 1, tree.node) if size else []
            signed = sign_note(Checkpoint(log.name, size + 1, tree.root(size + 1)).text, [log])
            assert witness.add_checkpoint(make_request(size, proof, signed).data).status == 200
            print(size + 1, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
