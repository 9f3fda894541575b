"""Verdicts of evidence about images whose history is known: logged, not logged, foreign, edited.

    python scripts/bench_evidence.py --images 2
    python scripts/bench_evidence.py --model dcgan_a --images 50

A log with one witness holds `--images` uses of the model. Then evidence is made about: logged
outputs; own images that were not logged, as PNG, at JPEG 75 and edited; images by another generator
and by the renderer; logged outputs that were edited, and at JPEG 75. The edits are five in turn: a
spot of an eighth of the width and height from another image, brightness, gamma, blur, noise. Every
bundle is verified as well, with the weights; with `--search` the verifier searches, too. Prints a
row for each kind and, last, all of them as JSON.
"""

import argparse
import io
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from bench_accuracy import origin, show
from bench_json import add_json_option, write_json
from PIL import Image

from jattr.alterations.files import alter
from jattr.alterations.registry import parse_chain
from jattr.attribution.calibrate import own_images
from jattr.decision.false_attribution import upper_bound
from jattr.generators.base import Generator
from jattr.generators.sampling import draw_latents, make_pixels
from jattr.generators.store import load_generator
from jattr.images import encode_png
from jattr.ledger.cosign import cosign
from jattr.ledger.evidence.inversion import invert_alternatives
from jattr.ledger.evidence.judge import SUPPORTED
from jattr.ledger.evidence.make import EvidenceRequest, make_evidence
from jattr.ledger.evidence.verify import verify_evidence
from jattr.ledger.keys import COSIGNATURE, Signer
from jattr.ledger.policy import Policy, parse_policy
from jattr.ledger.private import PrivateStore
from jattr.ledger.publish import publish
from jattr.ledger.reader import PublishedLog
from jattr.ledger.recording import Recorder
from jattr.ledger.store import LogStore
from jattr.ledger.witness import Witness
from jattr.ledger.witness_http import WitnessServer
from jattr.ledger.witness_store import WitnessStore
from jattr.runtime import enable_compilation_cache
from jattr.zoo.faces import render_faces

EDITS = ("pasted", "brightness:1.25", "gamma:1.2", "blur:1", "noise:0.02")
NONCE = "what the verifier asked for"


def begin(work: Path, gen: Generator, count: int, seed: int) -> np.ndarray:
    """Make a log with so many uses of the generator, and return their pixels."""
    signer = Signer.generate("example.com/model-log")
    z, label = draw_latents(gen, count, seed, None)
    pixels = make_pixels(gen, z, label)
    with (
        LogStore.create(work / "log", signer.name, [signer]) as log,
        PrivateStore.create(work / "log") as private,
    ):
        recorder = Recorder(log, private)
        intents = recorder.intend(gen, z, seed=seed, labels=label)
        recorder.release(
            intents, pixels, files=[encode_png(one) for one in pixels], recipient="somebody"
        )
    return pixels


def witnessed(work: Path) -> tuple[Policy, bytes]:
    """Publish the log with a witness's cosignature; return the policy and the checkpoint."""
    key = Signer.generate("example.org/witness", COSIGNATURE)
    with LogStore.open(work / "log") as log, WitnessStore.create(work / "witness", [key]) as memory:
        witness = Witness(memory, log.identity.keys)
        with WitnessServer(witness) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            text = (
                f"log {log.identity.keys[0].vkey}\nwitness w {key.verifier.vkey}"
                f" {server.url}\nquorum w\n"
            )
            policy = parse_policy(text.encode())
            result = cosign(log, policy, log.sign_checkpoint())
            server.shutdown()
        publish(log, work / "public", result.checkpoint)
    return policy, result.checkpoint


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return file.getvalue()


def pasted(pixels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return an image with a spot, an eighth of its width and height, taken from another one."""
    made = pixels.copy()
    high, wide = pixels.shape[0] // 8, pixels.shape[1] // 8
    made[3 * high : 4 * high, 3 * wide : 4 * wide] = other[3 * high : 4 * high, 3 * wide : 4 * wide]
    return made


def edited(logged: np.ndarray) -> list[np.ndarray]:
    """Return logged outputs after one edit each."""
    result = []
    for i, one in enumerate(logged):
        name = EDITS[i % len(EDITS)]
        if name == "pasted":
            result.append(pasted(one, logged[(i + 1) % len(logged)]))
        else:
            result.append(alter(one[None], parse_chain(name)).pixels[0])
    return result


def sets(gen: Generator, foreign: str, logged: np.ndarray, count: int) -> dict[str, list[bytes]]:
    """Return the files of each kind."""
    off = own_images(gen, count, 1_000)
    others = own_images(load_generator(foreign), -(-count // 2), 1_000)
    faces = np.asarray(render_faces(jax.random.key(1_000), count))[: count // 2]
    return {
        "logged": [encode_png(one) for one in logged],
        "logged, JPEG 75": [jpeg(one) for one in logged],
        "edited logged": [encode_png(one) for one in edited(logged)],
        "unlogged": [encode_png(one) for one in off],
        "unlogged, JPEG 75": [jpeg(one) for one in off],
        "edited unlogged": [encode_png(one) for one in edited(off)],
        "foreign": [encode_png(one) for one in np.concatenate([others, faces])],
    }


def judged(
    work: Path,
    gen: Generator,
    policy: Policy,
    end: bytes,
    files: list[bytes],
    *,
    search: bool,
    alterations: list[str],
) -> dict[str, Any]:
    """Return the verdicts of evidence about files."""
    kinds: Counter[str] = Counter()
    pilot_studies: dict[str, Any] = {}
    right_use, start = 0, time.perf_counter()

    def invert(data: bytes, model: Any, alteration: str | None) -> Any:
        return invert_alternatives(
            data, model, [alteration] if alteration else alterations, pilot_studies=pilot_studies
        )

    with LogStore.open(work / "log") as log, PrivateStore.open(work / "log") as private:
        public = PublishedLog(work / "public")
        for i, data in enumerate(files):
            attribution = invert(data, gen, None)
            made = make_evidence(
                log,
                private,
                policy,
                gen,
                attribution,
                EvidenceRequest(f"{i}.png", data, None, end, nonce=NONCE),
            )
            result = verify_evidence(
                made.data, public, policy, gen=gen, nonce=NONCE, invert=invert if search else None
            )
            assert result.verdict == made.verdict
            kinds[made.verdict.kind] += 1
            first = log.size - len(files)  # RESULT leaves are the last ones
            right_use += made.verdict.use == first + i
            print(f"{i + 1} of {len(files)}: {made.verdict.kind}", file=sys.stderr, flush=True)
    supported = kinds[SUPPORTED]
    return {
        "pictures": len(files),
        "verdicts": dict(kinds),
        "names_the_use": right_use,
        "supported_denial_at_most": upper_bound(supported, len(files)),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="dcgan_a")
    parser.add_argument("--foreign", default="progan_a")
    parser.add_argument(
        "--images", "--pictures", type=int, default=50, help="of each kind (default 50)"
    )
    parser.add_argument(
        "--kinds", nargs="+", metavar="KIND", help="these alone, such as 'edited unlogged'"
    )
    parser.add_argument(
        "--alteration", nargs="+", default=["auto"], metavar="CHAIN", help="tried in turn"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--search", action="store_true", help="the verifier searches as well")
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    gen, rows = load_generator(args.model), []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        logged = begin(work, gen, args.images, args.seed)
        policy, end = witnessed(work)
        for kind, files in sets(gen, args.foreign, logged, args.images).items():
            if args.kinds and kind not in args.kinds:
                continue
            result = judged(
                work, gen, policy, end, files, search=args.search, alterations=args.alteration
            )
            rows.append({"kind": kind, **result})
            show(rows[-1])
    print(
        json.dumps(
            {
                "model": args.model,
                "foreign": args.foreign,
                "alterations": args.alteration,
                "rows": rows,
                "seed": args.seed,
                **origin(),
            }
        )
    )
    write_json(args, rows, generators=[gen], count=args.images)


if __name__ == "__main__":
    main()
