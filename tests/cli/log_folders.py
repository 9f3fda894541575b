"""A log's folder as tests look at it, and a witness beside it."""

import contextlib
import json
import threading

from jattr.ledger.keys import COSIGNATURE, Signer
from jattr.ledger.leaves import parse_leaf
from jattr.ledger.store import LogStore
from jattr.ledger.witness import Witness
from jattr.ledger.witness_http import WitnessServer
from jattr.ledger.witness_store import WitnessStore

ORIGIN = "example.com/faces"


@contextlib.contextmanager
def witness(folder, tmp_path, name="example.org/witness"):
    """A witness of the log on loopback, written into its policy."""
    key = Signer.generate(name, COSIGNATURE)
    with LogStore.open(folder, writable=False) as log:
        keys = log.identity.keys
    memory = WitnessStore.create(tmp_path / name.partition("/")[0], [key])
    with memory, WitnessServer(Witness(memory, keys)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        text = (folder / "policy").read_text("utf-8").replace("quorum none\n", "")
        (folder / "policy").write_text(
            f"{text}witness w {key.verifier.vkey} {server.url}\nquorum w\n", "utf-8"
        )
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def leaves(folder):
    with LogStore.open(folder, writable=False) as log:
        return [parse_leaf(entry) for entry in log.entries(0, log.size)]


def log_key(folder):
    return json.loads((folder / "log.json").read_bytes())["keys"][0]
