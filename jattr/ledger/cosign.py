"""Having a checkpoint cosigned by the witnesses of a policy, before it is published."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.keys import Verifier
from jattr.ledger.note import Note, Signature, parse_note
from jattr.ledger.policy import OpenedCheckpoint, Policy
from jattr.ledger.witness import Request, make_request
from jattr.ledger.witness_http import ask_witness

MAX_AT_ONCE = 16  # witnesses that are asked at a time
Answer = list[Signature] | int | LedgerError | VerificationError
Ask = Callable[[str, Sequence[Verifier], Request], list[Signature] | int]


class Log(Protocol):
    """What is needed of the log whose checkpoint it is."""

    def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """Return the consistency proof between two sizes, 0 < old <= new."""


@dataclass(frozen=True)
class Cosigned:
    """A checkpoint that has its quorum."""

    checkpoint: bytes  # signed note with the cosignatures
    opened: OpenedCheckpoint
    failures: Mapping[str, str]  # name of a witness in the policy -> why it has not cosigned


def cosign(
    log: Log,
    policy: Policy,
    checkpoint: bytes,
    *,
    previous: bytes | None = None,
    ask: Ask = ask_witness,
) -> Cosigned:
    """Ask the witnesses of a policy that have not yet cosigned a checkpoint.

    Args:
      log: gives the consistency proofs.
      policy: the log and its witnesses, with the URLs of those that can be asked.
      checkpoint: signed by the log, perhaps by some witnesses.
      previous: the checkpoint published before, which saves asking its witnesses how much they
        have cosigned.
      ask: how one URL is asked; as `ask_witness` does.

    Raises:
      LedgerError: a checkpoint is malformed.
      VerificationError: the policy does not accept it, or too few witnesses have cosigned it; names
        what each said.
    """
    opened = policy.without_quorum().open(checkpoint)
    before = policy.without_quorum().open(previous) if previous else None
    failures: dict[str, str] = {}
    urls: dict[str, dict[str, Verifier]] = {}
    for name, party in policy.witnesses.items():
        if party.key in opened.witnesses:
            continue
        if party.url is None:
            failures[_spelt(name)] = "the policy states no URL for it"
        else:
            urls.setdefault(_spelt(party.url), {})[_spelt(name)] = party.key
    sizes = {
        url: _old_size(before, keys.values(), opened.checkpoint.size) for url, keys in urls.items()
    }
    signatures = []
    for url, answer in _ask_twice(log, checkpoint, urls, sizes, ask).items():
        signed = answer if isinstance(answer, list) else []
        signatures += signed
        why = "it did not sign with this key" if signed else str(answer)
        ids = {(signature.name, signature.key_id) for signature in signed}
        failures |= {
            name: why for name, key in urls[url].items() if (key.name, key.key_id) not in ids
        }
    note = parse_note(checkpoint)
    data = Note(note.text, (*note.signatures, *signatures)).data
    try:
        return Cosigned(data, policy.open(data), failures)
    except VerificationError as error:
        raise VerificationError(
            "; ".join([str(error), *(f"{n}: {why}" for n, why in failures.items())])
        ) from error


def _ask_twice(
    log: Log,
    checkpoint: bytes,
    urls: Mapping[str, Mapping[str, Verifier]],
    sizes: Mapping[str, int],
    ask: Ask,
) -> dict[str, Answer]:
    """Ask every URL, and again those that have cosigned another size than was believed.

    tlog-witness, "add-checkpoint": a witness answers a wrong old size with the right one.
    """
    answers = _ask_all(log, checkpoint, urls, sizes, ask)
    size = make_request(0, [], checkpoint).checkpoint.size
    again = {
        url: cosigned
        for url, cosigned in answers.items()
        if isinstance(cosigned, int) and sizes[url] < cosigned <= size
    }
    answers |= _ask_all(log, checkpoint, urls, again, ask)
    for url, cosigned in answers.items():
        if isinstance(cosigned, int):
            answers[url] = _no_answer(cosigned, sizes[url], size)
    return answers


def _ask_all(
    log: Log,
    checkpoint: bytes,
    urls: Mapping[str, Mapping[str, Verifier]],
    sizes: Mapping[str, int],
    ask: Ask,
) -> dict[str, Answer]:
    """Ask the URLs that have a size, from which consistency is proved; all at once."""
    size = make_request(0, [], checkpoint).checkpoint.size
    # Proofs are read from the log in this thread only.
    requests = {
        url: make_request(old, log.consistency(old, size) if old else [], checkpoint)
        for url, old in sizes.items()
    }
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        tasks = {
            url: pool.submit(partial(_asked, ask, url, list(urls[url].values()), request))
            for url, request in requests.items()
        }
        return {url: task.result() for url, task in tasks.items()}


def _no_answer(cosigned: int, believed: int, size: int) -> LedgerError:
    """Return what is wrong with a witness that states a size instead of signing."""
    if cosigned > size:
        return LedgerError(
            f"it has cosigned {cosigned} entries, this checkpoint has {size}: ask for the log's"
            " newest one"
        )
    if cosigned < believed:
        return LedgerError(
            f"it has gone back: it cosigned {believed} entries before, and now speaks of {cosigned}"
        )
    return LedgerError(
        f"it has cosigned {cosigned} entries and does not take the proof that leads from there"
    )


def _asked(ask: Ask, url: str, keys: Sequence[Verifier], request: Request) -> Answer:
    try:
        return ask(url, keys, request)
    except (LedgerError, VerificationError) as error:
        return error


def _old_size(before: OpenedCheckpoint | None, keys: Iterable[Verifier], size: int) -> int:
    """Return how many entries all of a witness's keys cosigned before; 0: not known."""
    if before is None or before.checkpoint.size > size:
        return 0
    return before.checkpoint.size if all(key in before.witnesses for key in keys) else 0


def _spelt(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
