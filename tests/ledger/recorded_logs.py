"""Logs of uses to test with: a generator without weights, and logs that were published under a
witness's eyes.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jattr.images import encode_png
from jattr.ledger.cosign import cosign
from jattr.ledger.evidence.bundle import Attribution
from jattr.ledger.keys import COSIGNATURE, Signer, Verifier
from jattr.ledger.note import Signature, parse_signatures
from jattr.ledger.policy import Policy, parse_policy
from jattr.ledger.private import PrivateStore
from jattr.ledger.publish import publish
from jattr.ledger.reader import PublishedLog
from jattr.ledger.recording import Recorder, Released
from jattr.ledger.store import LogStore
from jattr.ledger.witness import Request, Witness
from jattr.ledger.witness_store import WitnessStore

ORIGIN = "example.com/model-log"
WITNESS = Signer("example.org/witness", COSIGNATURE, bytes(range(32)))
URL = "http://127.0.0.1:9"  # nobody is asked there: `ask` takes the witness itself


@dataclasses.dataclass(frozen=True)
class FakeGenerator:
    """What a recorder needs of a generator.

    Its images are a hash of the latent, so nothing has to be compiled.
    """

    name: str = "fake"
    digest: str = "d" * 64
    weights_digest: str = "e" * 64
    space: str = "z"
    rounding: str | None = None
    settings: Any = None
    num_classes: int = 0
    latent_shape: tuple[int, ...] = (6,)

    @property
    def byte_rule(self) -> str:
        """As a generator's."""
        return self.rounding or "round"

    def pixels(self, latents: np.ndarray) -> np.ndarray:
        """Images uint8 [n, 8, 8, 3] of latents."""
        seeds = [int.from_bytes(z.astype("<f4").tobytes()[:8], "little") for z in latents]
        return np.stack(
            [np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8) for seed in seeds]
        )


def latents_of(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


class Owner:
    """The owner of a log with a witness, all in this process."""

    def __init__(self, folder: Path, *, origin: str = ORIGIN, witness: Signer = WITNESS) -> None:
        self.stack, self.folder = ExitStack(), folder
        self.log = self.stack.enter_context(
            LogStore.create(folder / "log", origin, [Signer.generate(origin)])
        )
        self.private = self.stack.enter_context(PrivateStore.create(folder / "log"))
        self.memory = self.stack.enter_context(WitnessStore.create(folder / "witness", [witness]))
        self.witness_key, self.keys = witness.verifier, [self.log.identity.keys[0]]
        self.recorder = Recorder(self.log, self.private)

    @property
    def policy(self) -> Policy:
        lines = [f"log {key.vkey}\n" for key in self.keys]
        return parse_policy(
            f"{''.join(lines)}witness w {self.witness_key.vkey} {URL}\nquorum w\n".encode()
        )

    @property
    def public(self) -> PublishedLog:
        return PublishedLog(self.folder / "public")

    def use(
        self, gen: Any, latents: np.ndarray, pixels: np.ndarray, **options: Any
    ) -> list[Released]:
        """Record uses from beginning to end."""
        intents = self.recorder.intend(gen, latents, **options)
        return self.recorder.release(
            intents, pixels, files=[encode_png(one) for one in pixels], recipient="Ada"
        )

    def publish(self, *, witnessed: bool = True) -> bytes:
        """Sign, have witnessed, write the public files; return the checkpoint."""
        signed = self.log.sign_checkpoint()
        policy = self.policy if witnessed else self.policy.without_quorum()
        published = [one.published for one in self.log.checkpoints() if one.published]
        ask = self.ask if witnessed else refuse
        found = cosign(
            self.log, policy, signed, previous=published[-1] if published else None, ask=ask
        )
        publish(self.log, self.folder / "public", found.checkpoint)
        return found.checkpoint

    def ask(self, url: str, keys: Sequence[Verifier], request: Request) -> list[Signature] | int:
        answer = Witness(self.memory, self.keys).add_checkpoint(request.data)
        return int(answer.body) if answer.status == 409 else list(parse_signatures(answer.body))


def refuse(url: str, keys: Sequence[Verifier], request: Request) -> list[Signature] | int:
    from jattr.errors import LedgerError

    raise LedgerError("it is not there")


@contextmanager
def owner(folder: Path, **options: Any) -> Iterator[Owner]:
    found = Owner(folder, **options)
    with found.stack:
        yield found


def attribution(fit: str, **fields: Any) -> Attribution:
    """What inversion may say, without a search."""
    known: dict[str, Any] = {
        "fit": fit,
        "certificate": False,
        "alteration": None,
        "latent": None,
        "residual": None,
        "restarts": 8,
        "miss_bound": None,
        "reason": "as the test says",
    }
    return Attribution(**known | fields)
