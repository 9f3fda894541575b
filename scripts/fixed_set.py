"""A fixed set of cases, run through the command line, to show that a change changed no result.

    python scripts/fixed_set.py run --json after.json                    # this checkout
    python scripts/fixed_set.py run --tree OTHER --json before.json      # another checkout
    python scripts/fixed_set.py compare docs/benchmarks/fixed_set_0.1.0.json after.json

`JATTR_REFERENCE` (or `--reference DIR`) names the reference folder with `weights/` and `images/`.
Nothing is imported from jattr: every step is `python -m jattr ...` in a process of its own, so one
script serves version 0.1.0 and all later ones. `docs/benchmarks/fixed_set_0.1.0.json` is the result
of version 0.1.0; the first line above is the command that makes its counterpart.

Cases: the demo; two images each of the bundled, sibling (space w), face, digit and conditional
pools; one image with truncation; photographs that no candidate made; JPEG, resize, crop, unknown
brightness, blur, unnamed noise; a search by SSIM, one by Adam, one by L-BFGS; a calibration and
verdicts by it; a log of uses with a witness, and evidence from it; results verified again; a small
sweep. `--only NAME ...` runs some.

`compare` prints every difference and exits with 1 if there is one, with 0 if all values are equal
to the bit. What it leaves out:

* timing, versions, settings and paths: `EXCLUDED` lists the keys and says why;
* what a log draws at random or from the clock: its keys, salts, root and receipts;
* texts for people (`WORDING`): changed ones are printed, but do not count as differences;
* values that only the later file has, such as a new field: they are printed, and do not count.

Every run begins with empty caches in its own folder, so compiled programs and pilot searches of
another version are not used. Equality is promised on one machine only: the kind of processor and
the number of cores decide how sums are split, and so their last bits. The file states both.
"""

import argparse
import csv
import fnmatch
import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SCHEMA = "jattr-fixed-set/1"
SEED = 7  # of every image that is generated

# Keys that are not collected from what jattr writes, and why.
EXCLUDED = {
    "timing_seconds": "time",
    "timing*": "time (columns and tables of a sweep)",
    "versions": "of packages; stated once, at the top of the file",
    "settings": "the options as they are stored; their effect is what is compared",
    "settings_digest": "a digest of the options as they are stored, and of the code",
    "path": "where a candidate lies",
    "file": "where an image lies; its last part is kept",
    "key": "of a sweep's cell: a digest that holds the code and the versions",
    "latents": "digest of the whole file latents.npz; its arrays are compared instead",
}
# Texts for people. A changed wording is printed by `compare`, and is no difference.
WORDING = ("reason", "notes", "sentence", "text", "weaknesses", "unchecked", "note", "null")
# What a digest of a restart, or of a candidate, is taken over.
RESTART = ("restart", "status", "evaluations", "residual")
CANDIDATE = (
    *("name", "digest", "weights_digest", "image_shape", "latent_shape", "prior", "num_classes"),
    *("rounding", "space"),
)

FACES = ("efleurine_faces11", "efleurine_faces_generator", "fletchersarip93_face")
DIGITS = ("abs51295_mnist", "akanametov_wgangp", "csinva_mnist_vae")
CONDITIONAL = ("abs51295_mnist_cgan", "robinglory_cgan", "umong51_cvae", "weili_cgan")
PAIR = ("dcgan_a", "progan_a")

Alter = Callable[[Image.Image], Image.Image]
MISSING = object()
# Columns of a sweep's tables that are kept as they are; of the others a digest is kept.
SHOWN_COLUMNS = ("verdict", "named", "residual", "evaluations", "status", "value")

SWEEP = """
name = "fixed set"
candidates = ["dcgan_a", "dcgan_b"]
alterations = ["none", "jpeg:75"]
seeds = [0]

[[pictures]]
kind = "own"
count = 1
seed = 1

[[pictures]]
kind = "renderer"
count = 1

[grid]
optimiser = ["auto", "lbfgs"]
restarts = [2]
"""

ABOUT = (
    "Results that a refactoring must not change. Equality to the bit is promised on one machine"
    " only: another kind of processor or another number of cores may change last bits. Seconds"
    " say what the run took, from empty caches and perhaps beside other work, and nothing of speed."
)


class Session:
    """Runs jattr's commands in one folder, and keeps the images that cases share."""

    def __init__(self, work: Path, tree: Path, reference: Path):
        """Prepare an environment in which only `tree` and empty caches are seen."""
        self.work, self.tree, self.reference = work, tree, reference
        # What is set outside must not change results: options of JAX, XLA, jattr and threads.
        outside = re.compile(r"(JAX|JATTR|XLA|PYTHON|OMP|OPENBLAS|MKL|TF)_?.*")
        kept = {name: value for name, value in os.environ.items() if not outside.fullmatch(name)}
        self.environment = kept | {
            "PYTHONPATH": str(tree),
            "PYTHONDONTWRITEBYTECODE": "1",
            "JAX_PLATFORMS": "cpu",
            "JATTR_CACHE": str(work / "cache" / "compiled"),
            "JAX_COMPILATION_CACHE_DIR": str(work / "cache" / "compiled"),
            "XDG_CACHE_HOME": str(work / "cache"),
            "MPLCONFIGDIR": str(work / "cache" / "matplotlib"),
        }

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command of jattr."""
        return subprocess.Popen(
            [sys.executable, "-m", "jattr", *args],
            cwd=self.work,
            env=self.environment,
            text=True,
            **options,
        )

    def check_tree(self) -> str:
        """Return the version of the jattr that commands run.

        Raises:
          SystemExit: it is not that of the tree.
        """
        code = "import jattr; print(jattr.__file__, jattr.__version__, sep='\\n')"
        command = [sys.executable, "-c", code]
        output = subprocess.run(
            command, cwd=self.work, env=self.environment, text=True, capture_output=True, check=True
        ).stdout
        index, version = output.split("\n")[:2]
        if Path(index).resolve().parents[1] != self.tree:
            raise SystemExit("the jattr that would be run is not that of --tree")
        return version

    def jattr(self, *args: str, exit_codes: Sequence[int] = (0,), makes: str = "") -> Any:
        """Run a command with `--json`, and return what it prints, as JSON values.

        Raises:
          RuntimeError: it ends with another exit code than expected, or has not made its file.
        """
        with self.start(*args, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            output, errors = child.communicate()
        if child.returncode not in exit_codes or not (self.work / makes).exists():
            last = (errors.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"`jattr {args[0]}` ended with {child.returncode}: {last}")
        return json.loads(output) if output.strip() else None

    def generate(self, gen: str, count: int = 2, *options: str) -> list[str]:
        """Return the paths of images by a generator; the same request is carried out once."""
        out = f"images/{'-'.join([gen, str(count), *(option.strip('-') for option in options)])}"
        if not (self.work / out).exists():
            (self.work / "images").mkdir(exist_ok=True)
            self.jattr(
                *("generate", self.candidate(gen), "--n", str(count), "--seed", str(SEED)),
                *("--out", out, *options),
            )
        return [f"{out}/{number:05d}.png" for number in range(count)]

    def candidate(self, name: str) -> str:
        """Return what names a candidate on the command line; the reference's are converted."""
        card = self.reference / "weights" / f"{name}.card.json"
        if not card.exists():
            return name
        out = f"converted/{name}"
        if not (self.work / out).exists():
            (self.work / "converted").mkdir(exist_ok=True)
            self.jattr("convert", str(card), out)
        return out

    def attribute(
        self,
        out: str,
        images: Sequence[str],
        candidates: Sequence[str],
        *options: str,
    ) -> dict[str, Any]:
        """Attribute images, and return what the result's folder states."""
        indices = [self.candidate(name) for name in candidates]
        # 2: an image could not be used, which is a result like others.
        command = ["attribute", *images, "--candidates", *indices, "--out", out, *options]
        self.jattr(*command, exit_codes=(0, 2), makes=f"{out}/result.json")
        return self.result(out)

    def result(self, out: str) -> dict[str, Any]:
        """Return what a folder of `jattr attribute` states, without what is excluded."""
        stated = json.loads((self.work / out / "result.json").read_text(encoding="utf-8"))
        collected: dict[str, Any] = collect(stated)
        return collected | {"latents": array_digests(self.work / out / "latents.npz")}

    def altered(self, name: str, images: Sequence[str], alter: Alter) -> list[str]:
        """Return the paths of altered copies, written as PNG."""
        return [
            self.save(alter(Image.open(self.work / image)), f"altered/{name}-{number}.png")
            for number, image in enumerate(images)
        ]

    def save(self, image: Image.Image, path: str, **options: Any) -> str:
        """Write an image file, and return its path in the folder of work."""
        (self.work / path).parent.mkdir(exist_ok=True)
        image.save(self.work / path, **options)
        return path


def collect(value: Any) -> Any:
    """Return JSON values without the excluded keys; long lists of restarts become a digest.

    >>> collect({"file": "a/b.png", "residual": 0.5, "timing_seconds": {"search": 3.0}})
    {'file': 'b.png', 'residual': 0.5}
    """
    if isinstance(value, list):
        return [collect(item) for item in value]
    if not isinstance(value, dict):
        return value
    collected = {}
    for key, item in value.items():
        if key == "file" and isinstance(item, str):
            collected[key] = item.rpartition("/")[2]
        elif key == "searches" and isinstance(item, dict):
            collected[key] = {name: restarts_of(runs) for name, runs in item.items()}
        elif key == "candidates" and item and all(isinstance(one, dict) for one in item):
            collected[key] = {one["name"]: digest_of([one[k] for k in CANDIDATE]) for one in item}
        elif not is_excluded(key):
            collected[key] = collect(item)
    return collected


def is_excluded(key: str) -> bool:
    """Return whether a key is one of `EXCLUDED`, which may end with `*`."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in EXCLUDED)


def restarts_of(runs: Any) -> Any:
    """Return the number of restarts, their evaluations, and a digest of all about them."""
    if not isinstance(runs, list):
        return runs
    return {
        "restarts": len(runs),
        "evaluations": [run["evaluations"] for run in runs],
        "status": [run["status"] for run in runs],
        "sha256": digest_of([[run[key] for key in RESTART] for run in runs]),
    }


def digest_of(value: Any) -> str:
    """Return the first half of a SHA-256 of JSON values; numbers count with all their digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def array_digests(path: Path) -> dict[str, Any]:
    """Return what tells the arrays of an .npz file from others."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: array_digest(arrays[name]) for name in sorted(arrays.files)}


def array_digest(array: np.ndarray) -> str:
    """Return the type and shape of an array, and the first half of a SHA-256 of its bytes.

    >>> array_digest(np.zeros((2, 3), np.float32))[:24]
    'float32 [2, 3] 9d908ecfb'
    """
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:32]
    return f"{array.dtype} {list(array.shape)} {digest}"


def table_of(path: Path) -> dict[str, Any]:
    """Return the columns of a CSV table, without those that are excluded."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    kept = {name: column for name, column in columns.items() if not is_excluded(name)}
    shown = {name: column for name, column in kept.items() if name in SHOWN_COLUMNS}
    return {"rows": len(rows), "columns": list(kept), **shown, "sha256": digest_of(kept)}


# The cases. Each is a function of a session; its name is its docstring's subject.


def demo(session: Session) -> dict[str, Any]:
    """Eight images of the demo against four bundled generators."""
    session.jattr("demo", "--out", "demo")
    truth = json.loads((session.work / "demo" / "truth.json").read_text(encoding="utf-8"))
    return session.result("demo/result") | {"truth": collect(truth)}


def bundled(session: Session) -> dict[str, Any]:
    """Two images, one of each family, against all four bundled families."""
    images = session.generate("stylegan2_a", 1) + session.generate("progan_a", 1)
    families = ("dcgan_a", "progan_a", "stylegan_a", "stylegan2_a")
    return session.attribute("bundled", images, families) | generated(session, images)


def siblings(session: Session) -> dict[str, Any]:
    """Two images against their maker and its siblings, in space w."""
    images = session.generate("stylegan2_a", 2)
    candidates = ("stylegan2_a", "stylegan2_a_early", "stylegan2_a_tuned")
    return session.attribute("siblings", images, candidates, "--space", "w")


def truncated(session: Session) -> dict[str, Any]:
    """An image of one psi, searched under two."""
    images = session.generate("stylegan2_b", 1, "--psi", "0.7")
    psi = ("--psi", "0.7", "1", "--restarts", "1")
    result = session.attribute("truncated", images, ("stylegan2_b",), *psi)
    return result | generated(session, images)


def faces(session: Session) -> dict[str, Any]:
    """Two images against three public face generators."""
    return pool(session, "faces", FACES)


def digits(session: Session) -> dict[str, Any]:
    """Two images against three public MNIST generators."""
    return pool(session, "digits", DIGITS)


def conditional(session: Session) -> dict[str, Any]:
    """Two images against four conditional MNIST generators."""
    return pool(session, "conditional", CONDITIONAL)


def pool(session: Session, name: str, candidates: Sequence[str]) -> dict[str, Any]:
    """Return the results of an image by each of the first two candidates against all."""
    images = [image for maker in candidates[:2] for image in session.generate(maker, 1)]
    return session.attribute(name, images, candidates) | generated(session, images)


def photographs(session: Session) -> dict[str, Any]:
    """Two photographs as PNG files of the right size, and one as the JPEG file that it is."""
    paths = sorted((session.reference / "images" / "real_faces_64").glob("*.jpg"))[:3]
    images = [
        session.save(resized(Image.open(path).convert("RGB"), 32), f"resized/{number}.png")
        for number, path in enumerate(paths[:2])
    ]
    return session.attribute("photographs", [*images, str(paths[2])], FACES, "--resize")


def jpeg(session: Session) -> dict[str, Any]:
    """Two JPEG files, and nothing said of them."""
    images = [
        session.save(Image.open(session.work / image), f"jpeg/{number}.jpg", quality=75)
        for number, image in enumerate(pair_images(session))
    ]
    return session.attribute("from-jpeg", images, PAIR)


def jpeg_saved_as_png(session: Session) -> dict[str, Any]:
    """Two PNG files of decoded JPEG files; the compression is read from its traces."""
    images = []
    for number, image in enumerate(pair_images(session)):
        path = session.save(Image.open(session.work / image), f"again/{number}.jpg", quality=75)
        decoded = Image.open(session.work / path)
        images.append(session.save(decoded, f"again/{number}.png"))
    return session.attribute("from-png", images, PAIR, "--alteration", "jpeg")


def resize(session: Session) -> dict[str, Any]:
    """Two images that were enlarged."""
    return altered(session, "resize", "resize:48x48:lanczos", lambda image: resized(image, 48))


def crop(session: Session) -> dict[str, Any]:
    """Two images of which the middle was kept, nine tenths of each side."""
    return altered(session, "crop", "centre:0.9", lambda image: image.crop((1, 1, 30, 30)))


def blur(session: Session) -> dict[str, Any]:
    """Two images that were blurred."""
    gaussian = ImageFilter.GaussianBlur(1)
    return altered(session, "blur", "blur:1", lambda image: image.filter(gaussian))


def brightness(session: Session) -> dict[str, Any]:
    """Two images that were darkened by an unknown factor; the alternative is no alteration."""
    return altered(session, "brightness", "brightness:? none", darkened)


def altered(session: Session, name: str, chains: str, alter: Alter) -> dict[str, Any]:
    """Return the results of two altered images under the chains, which spaces separate."""
    images = session.altered(name, pair_images(session), alter)
    return session.attribute(name, images, PAIR, "--alteration", *chains.split())


def retouched(session: Session) -> dict[str, Any]:
    """Two images with noise that nobody names: verdicts by thresholds."""
    images = session.generate("dcgan_a", 1)
    slightly = session.altered("slightly", images, lambda image: with_noise(image, 3))
    strongly = session.altered("strongly", images, lambda image: with_noise(image, 16))
    return session.attribute("retouched", slightly + strongly, ("dcgan_a", "dcgan_b"))


def ssim(session: Session) -> dict[str, Any]:
    """Two images searched by another distance."""
    return searched(session, "ssim", "--distance", "l2*1+ssim*0.5", "--restarts", "2")


def adam(session: Session) -> dict[str, Any]:
    """Two images searched by a first-order method, from starts drawn from the prior."""
    return searched(
        *(session, "adam", "--optimiser", "adam:0.05:cosine", "--steps", "200"),
        *("--restarts", "2", "--start", "prior", "--seed", "3"),
    )


def lbfgs(session: Session) -> dict[str, Any]:
    """Two images searched by L-BFGS."""
    return searched(session, "lbfgs", "--optimiser", "lbfgs", "--restarts", "2")


def searched(session: Session, name: str, *options: str) -> dict[str, Any]:
    """Return the results of two images under options of the search."""
    return session.attribute(name, pair_images(session), PAIR, *options)


def calibrated(session: Session) -> dict[str, Any]:
    """A calibration, and the verdicts by it: of an image with noise, and of another generator's."""
    candidates = ("dcgan_a", "dcgan_b")
    session.jattr(
        *("calibrate", *candidates, "--own", "20", "--others", "10", "--restarts", "3"),
        *("--out", "calibration.json"),
    )
    calibration = json.loads((session.work / "calibration.json").read_text(encoding="utf-8"))
    images = session.generate("dcgan_a", 1)
    images = session.altered("noise", images, lambda image: with_noise(image, 6))
    images += session.generate("progan_a", 1)
    result = session.attribute(
        *("calibrated", images, candidates, "--calibration", "calibration.json", "--restarts", "3")
    )
    return result | {"calibration": collect(calibration)}


def evidence(session: Session) -> dict[str, Any]:
    """A log of eight uses with a witness; evidence about a foreign, a logged and an unlogged image.

    The sample that is made again depends on random salts, so the log has no more uses than that.
    """
    model, nonce = "dcgan_a", "fixed set"
    session.jattr("log", "init", "log", "--origin", "example.com/faces")
    session.jattr("log", "witness", "witness", "--name", "example.org/witness")
    key = session.jattr("log", "witness", "witness")["keys"][0]
    policy = session.work / "log" / "policy"
    log_key = next(line for line in policy.read_text().splitlines() if line.startswith("log "))
    command = ("log", "witness", "witness", "--log", log_key.split()[1])
    with session.start(*command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[0]
            trusted = f"{log_key}\nwitness w {key} {url}\nquorum w\n"
            policy.write_text(trusted, encoding="utf-8")
            uses = ("--n", "8", "--seed", str(SEED), "--out", "logged", "--recipient", "Ada")
            logged = session.jattr("log", "generate", "log", model, *uses)
            published = session.jattr("log", "publish", "log")
        finally:
            server.terminate()
    images = {
        "foreign": session.generate("progan_a", 1)[0],
        "logged": "logged/00003.png",
        "unlogged": session.generate(model, 10)[9],
    }
    asked = ("--candidate", model, "--nonce", nonce)
    result: dict[str, Any] = {"entries": logged["entries"], "size": published["size"]}
    trust = ("--log", "log/public", "--policy", "log/policy", "--end", "log/public/checkpoint")
    for name, image in images.items():
        bundle = f"evidence-{name}"
        made = session.jattr("evidence", "make", image, "--log", "log", *asked, "--out", bundle)
        own = ("--picture", image)
        verified = session.jattr("evidence", "verify", bundle, *trust, *asked, *own)
        result[name] = {"made": collect(made), "verified": collect(verified)}
    return result | {"images": image_digests(session, [images["logged"]])}


def verified(session: Session) -> dict[str, Any]:
    """Certificates of PNG and JPEG files, verified again from the folders of their results."""
    result = {"jpeg": (jpeg, "from-jpeg", PAIR), "faces": (faces, "faces", FACES)}
    results = {}
    for name, (case, out, candidates) in result.items():
        if not (session.work / out).exists():
            case(session)
        indices = [session.candidate(candidate) for candidate in candidates]
        command = ("verify", out, "--candidates", *indices)
        results[name] = collect(session.jattr(*command, exit_codes=(0, 3)))
    return results


def sweep(session: Session) -> dict[str, Any]:
    """A sweep of two candidates, two optimisers, with and without JPEG; its tables."""
    (session.work / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    session.jattr("sweep", "run", "sweep.toml", "--out", "sweep", "--no-report")
    session.jattr("sweep", "export", "sweep", "--out", "tables", "--format", "csv")
    tables = sorted((session.work / "tables").glob("*.csv"))
    return {path.stem: table_of(path) for path in tables if not is_excluded(path.stem)}


def pair_images(session: Session) -> list[str]:
    """Return an image by each generator of the pair."""
    return [image for name in PAIR for image in session.generate(name, 1)]


def generated(session: Session, images: Sequence[str]) -> dict[str, Any]:
    """Return digests of images, and of the latents that were stored with them."""
    folders = sorted({image.rpartition("/")[0] for image in images})
    latents = {name: array_digests(session.work / name / "latents.npz") for name in folders}
    return {"generated": image_digests(session, images), "generated_latents": latents}


def image_digests(session: Session, images: Sequence[str]) -> dict[str, str]:
    """Return digests of pixels."""
    return {image: array_digest(np.asarray(Image.open(session.work / image))) for image in images}


def resized(image: Image.Image, side: int) -> Image.Image:
    """Return a square image of another size."""
    return image.resize((side, side), Image.Resampling.LANCZOS)


def darkened(image: Image.Image) -> Image.Image:
    """Return a darker image."""
    return ImageEnhance.Brightness(image).enhance(0.85)


def with_noise(image: Image.Image, most: int) -> Image.Image:
    """Return an image whose bytes were changed by up to so many levels."""
    noise = np.random.default_rng(SEED).integers(-most, most + 1, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


CASES: dict[str, Callable[[Session], dict[str, Any]]] = {
    case.__name__: case
    for case in (
        *(demo, bundled, siblings, truncated, faces, digits, conditional, photographs),
        *(jpeg, jpeg_saved_as_png, resize, crop, blur, brightness, retouched, ssim, adam, lbfgs),
        *(calibrated, evidence, verified, sweep),
    )
}


def run(args: argparse.Namespace) -> int:
    """Run the cases and write the JSON; 1 if a case could not be carried out."""
    tree = Path(args.tree).resolve()
    reference = Path(args.reference or os.environ.get("JATTR_REFERENCE") or "missing").resolve()
    if not (reference / "weights").is_dir():
        raise SystemExit("there is no reference folder: give --reference, or set JATTR_REFERENCE")
    cases, seconds, failed = {}, {}, 0
    with tempfile.TemporaryDirectory(prefix="jattr-fixed-set-") as folder:
        session = Session(Path(folder), tree, reference)
        version = session.check_tree()
        for name in args.only or CASES:
            start = time.perf_counter()
            try:
                cases[name] = CASES[name](session)
            except (RuntimeError, OSError, KeyError, ValueError) as error:
                cases[name] = {"failed": str(error)}
                failed += 1
                print(f"{name}: {error}", file=sys.stderr)
            seconds[name] = round(time.perf_counter() - start, 1)
            print(f"{name}: {seconds[name]} s", flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = round(used.ru_utime + used.ru_stime, 1)
    if args.json:
        document = document_of(cases, seconds, processor, versions() | {"jattr": version})
        Path(args.json).write_text(written(document), encoding="utf-8")
    total = sum(seconds.values())
    print(f"{len(cases)} cases in {total:.0f} s ({processor:.0f} s of processor), {failed} failed")
    return int(failed > 0)


def document_of(
    cases: dict[str, Any],
    seconds: dict[str, float],
    processor: float,
    versions: dict[str, str],
) -> dict[str, Any]:
    """Return what a file holds: origin, a row for each case, and all that was collected."""
    return {
        "schema": SCHEMA,
        "title": f"fixed set, version {versions['jattr']}",
        "command": "python scripts/fixed_set.py run --tree DIR --reference REF --json FILE",
        "config": {"cases": list(cases)},
        "seed": SEED,
        "versions": versions,
        "device": f"cpu, {platform.machine()}, {cores()} cores",
        "count": len(cases),
        "notes": [ABOUT],
        "rows": [summary(name, case) | {"seconds": seconds[name]} for name, case in cases.items()],
        "processor_seconds": processor,
        "excluded": EXCLUDED,
        "wording": WORDING,
        "cases": cases,
    }


def summary(name: str, case: dict[str, Any]) -> dict[str, Any]:
    """Return a case in few words: its images, their verdicts, how many have a certificate."""
    rows = case.get("pictures")
    images = rows if isinstance(rows, list) else []
    verdicts = [row["verdict"] for row in images]
    counts = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
    return {
        "case": name,
        "what": (CASES[name].__doc__ or "").partition("\n")[0].rstrip("."),
        "images": len(images) or None,
        "verdicts": ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or None,
        "certified": sum(row["certificate"] is not None for row in images) if images else None,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pillow")
    result = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version()} | result


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def written(document: dict[str, Any], width: int = 100) -> str:
    """Return JSON text with one short value a line, so that changes can be read in a diff."""

    def lines(value: Any, indent: str) -> str:
        flat = json.dumps(value)
        if not isinstance(value, dict | list) or len(flat) + len(indent) < width:
            return flat
        deeper = indent + " "
        if isinstance(value, list):
            items = [lines(item, deeper) for item in value]
        else:
            items = [f"{json.dumps(key)}: {lines(item, deeper)}" for key, item in value.items()]
        marks = "[]" if isinstance(value, list) else "{}"
        inner = ",\n".join(deeper + item for item in items)
        return f"{marks[0]}\n{inner}\n{indent}{marks[1]}"

    return lines(document, "") + "\n"


def compare(args: argparse.Namespace) -> int:
    """Print what differs between two files; 1 if results do."""
    before, after = (json.loads(Path(path).read_text(encoding="utf-8")) for path in args.files)
    for key in ("versions", "device"):
        if before[key] != after[key]:
            print(f"note: other {key}: {before[key]} and {after[key]}")
    names = args.only or list(before["cases"])
    counts = {"different": 0, "wording": 0, "new": 0}
    for name in names:
        old, new = before["cases"].get(name, MISSING), after["cases"].get(name, MISSING)
        for kind, index, text in differences(old, new, name):
            counts[kind] += 1
            print(f"{kind}: {index}: {text}")
    print(
        f"{len(names)} cases: {counts['different']} differences;"
        f" besides, {counts['wording']} texts worded otherwise, {counts['new']} new values"
    )
    return int(counts["different"] > 0)


def differences(
    old: Any,
    new: Any,
    place: str,
    *,
    words: bool = False,
) -> Iterator[tuple[str, str, str]]:
    """Yield the kind, place and text of everything in which two JSON values differ.

    Args:
      old: the values before.
      new: the values after.
      place: where they stand.
      words: texts there are for people.

    >>> list(differences({"residual": 0.1}, {"residual": 0.1, "more": 1}, "x"))
    [('new', 'x.more', '1')]
    >>> list(differences({"residual": 0.1}, {"residual": 0.10000000000000002}, "x"))
    [('different', 'x.residual', '0.1 -> 0.10000000000000002')]
    >>> list(differences([1, 2], [1], "x"))
    [('different', 'x', '2 items -> 1')]
    """
    if old is MISSING:
        yield "new", place, shown(new)
    elif new is MISSING:
        yield "different", place, "missing"
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            pair = old.get(key, MISSING), new.get(key, MISSING)
            yield from differences(*pair, f"{place}.{key}", words=words or key in WORDING)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield "different", place, f"{len(old)} items -> {len(new)}"
        for number, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from differences(one, other, f"{place}[{number}]", words=words)
    elif type(old) is not type(new) or repr(old) != repr(new):
        wording = words and isinstance(old, str) and isinstance(new, str)
        yield "wording" if wording else "different", place, f"{shown(old)} -> {shown(new)}"


def shown(value: Any) -> str:
    """Return a value in few characters."""
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:190]} ..."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    runs = actions.add_parser("run", help="run the cases")
    here = str(Path(__file__).resolve().parents[1])
    runs.add_argument("--tree", default=here, metavar="DIR", help="checkout whose jattr is run")
    runs.add_argument("--reference", metavar="DIR", help="default: JATTR_REFERENCE")
    runs.add_argument("--json", metavar="FILE", help="file to write")
    runs.set_defaults(action=run)
    compares = actions.add_parser("compare", help="compare two files; exit code 1: results differ")
    compares.add_argument("files", nargs=2, metavar="FILE", help="before and after")
    compares.set_defaults(action=compare)
    for action in (runs, compares):
        listed = ", ".join(CASES)
        action.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=listed)
    args = parser.parse_args(arguments)
    result: int = args.action(args)
    return result


if __name__ == "__main__":
    sys.exit(main())
