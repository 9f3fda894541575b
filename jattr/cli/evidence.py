"""`jattr evidence`: what a log shows of an image, made by its owner and verified by anybody."""

from __future__ import annotations

import argparse
import datetime
import functools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from jattr.attribution.pilot_files import PilotStudyFiles
from jattr.cli.device import add_device, start_jax
from jattr.cli.log_actions import POLICY
from jattr.cli.log_readers import read_file, read_policy
from jattr.cli.options import (
    add_common,
    add_output,
    add_settings,
    emit,
    given_settings,
    new_folder,
    whole_number,
)
from jattr.errors import InputError
from jattr.folders.cache import pilot_study_folder
from jattr.folders.kinds import FolderKind, check_names, file_names, read_object
from jattr.generators.base import Generator
from jattr.generators.names import check_candidate_names
from jattr.generators.settings import NOISE, SPACES
from jattr.generators.store import load_generator
from jattr.images.reading import read_bytes
from jattr.inversion.config import InvertConfig
from jattr.ledger.evidence.bundle import (
    BUNDLE_FIELDS,
    FILE,
    LEVELS,
    MAX_EVIDENCE_BYTES,
    Attribution,
)
from jattr.ledger.evidence.inversion import invert_alternatives
from jattr.ledger.evidence.judge import LEAST_SAMPLE
from jattr.ledger.evidence.make import Evidence, EvidenceRequest, make_evidence
from jattr.ledger.evidence.verify import Verified, verify_evidence
from jattr.ledger.note import MAX_NOTE_BYTES
from jattr.ledger.policy import OpenedCheckpoint
from jattr.ledger.private import PrivateStore
from jattr.ledger.reader import PublishedLog
from jattr.ledger.store import LogStore
from jattr.printable import shown
from jattr.report.evidence_page import evidence_page
from jattr.runtime import jax_defaults
from jattr.typing import JsonObject

EVIDENCE_PAGE = "evidence.html"
STATED = ("fit", "certificate", "alteration", "residual")  # facts of an inversion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments and the actions."""
    parser.description = (
        "Evidence about an image from a log of the model's uses. docs/ledger.md says what each"
        " verdict proves and what it cannot."
    )
    below = parser.add_subparsers(metavar="ACTION", required=True)
    make = below.add_parser("make", help="make evidence about an image, as the owner of the log")
    make.add_argument("picture", metavar="IMAGE", help="the image, as it was found")
    make.add_argument(
        "--log", required=True, metavar="DIR", help="folder of the log, with its private openings"
    )
    make.add_argument("--candidate", required=True, metavar="GEN", help="the accused model")
    make.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="GEN",
        help="further models whose uses the log holds",
    )
    make.add_argument(
        "--window",
        default=":",
        metavar="FROM:TO",
        help="sizes of two published checkpoints (default: all published)",
    )
    make.add_argument(
        "--level", choices=LEVELS, default=LEVELS[-1], help="what is opened (default all of it)"
    )
    make.add_argument(
        "--nonce", metavar="TEXT", help="of the sample that is made again: from whoever asks"
    )
    make.add_argument(
        "--sample",
        type=whole_number(0, 100_000),
        default=LEAST_SAMPLE,
        metavar="N",
        help=f"default {LEAST_SAMPLE} entries",
    )
    add_output(make)
    make.set_defaults(run=make_run)
    verify = below.add_parser("verify", help="verify evidence, believing nothing of it")
    verify.add_argument(
        "bundle",
        metavar="BUNDLE",
        help="folder that `jattr evidence make` wrote, or its evidence.json",
    )
    verify.add_argument(
        "--log", required=True, metavar="PLACE", help="the public log: a folder or a URL"
    )
    verify.add_argument(
        "--policy", required=True, metavar="FILE", help="whom you trust: the log's key, witnesses"
    )
    verify.add_argument(
        "--candidate", metavar="GEN", help="the accused model; without it that part is not checked"
    )
    verify.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="GEN",
        help="further models whose uses the log holds",
    )
    verify.add_argument(
        "--picture", metavar="IMAGE", help="the image, lest the bundle be about another one"
    )
    verify.add_argument(
        "--nonce", metavar="TEXT", help="what you had asked the sample to be chosen by"
    )
    verify.add_argument(
        "--end",
        metavar="FILE",
        help="the published checkpoint that you kept with the nonce: the window must end there",
    )
    verify.add_argument(
        "--window", metavar="FROM:TO", help="sizes of the log between which you asked for evidence"
    )
    verify.add_argument(
        "--no-search", action="store_true", help="do not search for the latent yourself"
    )
    verify.set_defaults(run=verify_run)
    for action in (make, verify):
        action.add_argument(
            "--restarts", type=whole_number(1, 100_000), metavar="N", help="of the search"
        )
        action.add_argument(
            "--alteration",
            nargs="+",
            default=["auto"],
            metavar="CHAIN",
            help="what may have been done to the image; several are tried in turn, as auto"
            " brightness:? blur:1",
        )
        action.add_argument(
            "--space", choices=SPACES, help="of the latent that is searched for (default z)"
        )
        add_settings(action, (*NOISE, "search"))
        add_device(action)
        add_common(action)


@jax_defaults(devices=False)
def make_run(args: argparse.Namespace) -> int:
    """Make evidence."""
    image = read_bytes(args.picture)
    inputs = [args.picture, args.candidate, *args.also]
    new = new_folder(
        args.out,
        kind=EVIDENCE_FOLDER,
        overwrite=args.overwrite,
        inputs=inputs,
        protected=[args.log],
    )
    with new as work, PrivateStore.open(args.log) as private:
        policy = read_policy(Path(args.log) / POLICY)
        with LogStore.open(args.log, writable=False) as log:
            start, end = _window(log, args.window)
        gen, *others = _models(args)
        attribution = _invert(args, image, gen, None)  # the log is free for uses meanwhile
        request = EvidenceRequest(
            Path(args.picture).name, image, start, end, args.level, args.nonce, args.sample
        )
        with LogStore.open(args.log) as log:
            evidence = make_evidence(log, private, policy, gen, attribution, request, others)
        (work / FILE).write_bytes(evidence.data)
        page = evidence_page(evidence.bundle, evidence.verdict, gen.name, _command(args))
        (work / EVIDENCE_PAGE).write_text(page, encoding="utf-8")
    where = f"written to {shown(args.out, 200)}: {FILE}, {EVIDENCE_PAGE}"
    emit(args, facts_of(evidence, attribution), text_of(evidence, attribution, [where]))
    return 0


def check_evidence_folder(folder: Path) -> None:
    """Check that a folder holds evidence and its page; the evidence is not verified.

    Raises:
      InputError: it does not, or holds anything else.
    """
    check_names(file_names(folder), (FILE, EVIDENCE_PAGE))
    if set(read_object(folder / FILE)) != {"jattr", *BUNDLE_FIELDS, "signature"}:
        raise InputError(f"{FILE!r} is no evidence")


EVIDENCE_FOLDER = FolderKind("a folder of evidence", check_evidence_folder)


@jax_defaults(devices=False)
def verify_run(args: argparse.Namespace) -> int:
    """Verify evidence.

    Raises:
      InputError: something cannot be read.
      VerificationError: something is not as stated.
    """
    window = None if args.window is None else _sizes(args.window)
    end = None if args.end is None else read_file(Path(args.end), MAX_NOTE_BYTES)
    path = Path(args.bundle)
    data = read_file(path / FILE if path.is_dir() else path, MAX_EVIDENCE_BYTES)
    image = None if args.picture is None else read_bytes(args.picture)
    policy, log = read_policy(Path(args.policy)), PublishedLog(args.log)
    gen: Generator | None = None
    others: list[Generator] = []
    if args.candidate is not None:
        gen, *others = _models(args)
    invert = None if args.no_search else functools.partial(_invert, args)
    verified = verify_evidence(
        data,
        log,
        policy,
        gen=gen,
        others=others,
        invert=invert,
        nonce=args.nonce,
        image=image,
        end=end,
        window=window,
    )
    facts = facts_of(verified, verified.attribution) | {
        "verified": True,  # nothing differs; `complete`: and nothing was left out
        "complete": not verified.unchecked,
        "unchecked": list(verified.unchecked),
        "own_search": verified.own_search,
    }
    emit(args, facts, verified_text(verified))
    return 0


def _models(args: argparse.Namespace) -> list[Generator]:
    start_jax(args.device)
    gen, *others = [load_generator(path) for path in [args.candidate, *args.also]]
    check_candidate_names([each.name for each in (gen, *others)])
    return [gen.view(args.space, **given_settings(args)), *others]


def _invert(
    args: argparse.Namespace, image: bytes, gen: Generator, alteration: str | None
) -> Attribution:
    config = InvertConfig(restarts=args.restarts)
    pilot_studies = PilotStudyFiles(pilot_study_folder())
    alterations = args.alteration if alteration is None else [alteration]
    return invert_alternatives(image, gen, alterations, config=config, pilot_studies=pilot_studies)


def _window(log: LogStore, text: str) -> tuple[bytes | None, bytes]:
    """Return the checkpoints, as published, of a window FROM:TO of sizes; either may be left away.

    Raises:
      InputError: there is no published checkpoint of such a size.
    """
    published = {
        signed.size: signed.published
        for signed in log.checkpoints()
        if signed.published is not None
    }
    if not published:
        raise InputError(
            "the log has not been published, so it proves nothing to others; `jattr log publish`"
            " first"
        )
    first, colon, last = text.partition(":")
    sizes = ", ".join(map(str, sorted(published)[-20:]))
    if not colon or not {first, last} <= {"", "0", *map(str, published)}:
        raise InputError(
            f"--window is {shown(repr(text), 80)}; write FROM:TO, sizes of published checkpoints:"
            f" {sizes}"
        )
    start, end = int(first or 0), int(last or max(published))
    if start >= end:
        raise InputError(
            f"--window is {shown(repr(text), 80)}, which has no entries; published checkpoints are"
            f" of {sizes}"
        )
    return (published[start] if start else None), published[end]


def _sizes(text: str) -> tuple[int, int]:
    """Return the sizes of a window FROM:TO.

    Raises:
      InputError: it is none.
    """
    first, _, last = text.partition(":")
    if not re.fullmatch(r"[0-9]{1,18}:[0-9]{1,18}", text, re.ASCII) or int(first) >= int(last):
        raise InputError(
            f"--window is {shown(repr(text), 80)}; write FROM:TO, two sizes of the log, the second"
            " larger"
        )
    return int(first), int(last)


def _command(args: argparse.Namespace) -> str:
    also = ["--also", *args.also] if args.also else []
    given = ["--picture", args.picture, "--candidate", args.candidate, *also]
    given += ["--nonce", args.nonce or "YOUR-NONCE", "--end", "YOUR-CHECKPOINT"]
    options = {"--restarts": args.restarts, "--space": args.space} | {
        f"--{name}": str(value) for name, value in given_settings(args).items()
    }
    given += [
        word for name, value in options.items() if value is not None for word in (name, str(value))
    ]
    given += [] if args.alteration == ["auto"] else ["--alteration", *args.alteration]
    return (
        f"jattr evidence verify {shlex.quote(args.out)} --log PUBLIC-LOG --policy YOUR-POLICY"
        f" {shlex.join(given)}"
    )


def facts_of(evidence: Evidence | Verified, attribution: Attribution) -> JsonObject:
    """Return the facts as JSON values."""
    bundle = evidence.bundle
    facts = {"verdict": evidence.verdict.json, "examined": bundle.examined, "origin": bundle.origin}
    stated = {name: getattr(attribution, name) for name in STATED}
    return facts | {
        "attribution": stated | {"latent": attribution.latent is not None},
        "level": bundle.level,
    }


def text_of(
    evidence: Evidence | Verified,
    attribution: Attribution,
    last: Sequence[str],
    whose: str = "",
    limit: str = "",
) -> str:
    """Return the text of a verdict, with these last lines."""
    bundle = evidence.bundle
    counts, sample = bundle.examined["counts"], bundle.examined["sample"]
    lines = [f"{shown(bundle.name, 100)}: {limit}{evidence.verdict.text}"]
    lines += [f"weaker because {shown(weak, 400)}" for weak in evidence.verdict.weaknesses]
    lines.append(f"inversion{whose}: {shown(attribution.reason, 600)}")
    closest = bundle.examined["closest"]
    away = "" if closest is None else f"; the closest is {closest} of 256 bits away"
    lines.append(
        f"log {shown(bundle.origin, 200)}: {counts['entries']} entries in the window,"
        f" {counts['results']} outputs, {counts['opened']} opened{away}; {len(sample)} made again"
        f" by the nonce {shown(bundle.nonce, 100)}"
    )
    return "\n".join([*lines, *last])


def verified_text(evidence: Verified) -> str:
    """Return the text of evidence that was verified."""
    lines = [
        _window_text(evidence.start, evidence.end),
        *(f"NOT CHECKED: {what}" for what in evidence.unchecked),
    ]
    if evidence.unchecked:
        lines.append(
            "log, window and openings are as they follow from the public log; the verdict rests on"
            " the above too"
        )
    else:
        lines.append(
            "verified: log, window, openings and verdict are as they follow from the public log"
        )
    whose = "" if evidence.own_search else ", in the words of the log's owner"
    return text_of(
        evidence,
        evidence.attribution,
        lines,
        whose,
        "as far as it was checked: " if evidence.unchecked else "",
    )


def _window_text(start: OpenedCheckpoint | None, end: OpenedCheckpoint) -> str:
    first = 0 if start is None else start.checkpoint.size
    text = f"window: entries {first} to {end.checkpoint.size - 1}"
    for what, opened in (("begins", start), ("ends", end)):
        if opened is None or not opened.witnesses:
            continue
        if opened.time is None:
            text += f"; when it {what}: no time stated"
        else:
            text += (
                f"; it {what} no later than {_date(opened.time)}, by"
                f" {shown(', '.join(opened.dated_by), 200)}"
            )
    return text


def _date(seconds: int) -> str:
    """Return a time, seconds since 1970, as a date."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(
            "%Y-%m-%d %H:%M:%S UTC"
        )
    except (ValueError, OverflowError, OSError):
        return f"{seconds} seconds after 1970"
