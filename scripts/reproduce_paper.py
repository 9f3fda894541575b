"""The paper's protocol on the official 1024x1024 generators, for whoever has their files.

    python scripts/reproduce_paper.py --list
    python scripts/reproduce_paper.py --weights DIR --features FOLDER --out reproduced
    python scripts/reproduce_paper.py --weights DIR --file progan=mine.pth stylegan2=ffhq.pkl \\
      --out reproduced
    python scripts/reproduce_paper.py --weights DIR --out tried --try

Zhang, Zhou, Shumailov, Papernot, On Attribution of Deepfakes, arXiv 2008.09194, section 5: images
of ProGAN, StyleGAN and StyleGAN2, each searched under all three by 3 restarts of 500 steps of Adam
(b1 = 0, b2 = 0.99, rate 0.1) for the mean squared difference of Inception features (Mixed_7a at
299x299), attributed to the least; and beside it jattr's default search on the same images. Nothing
is downloaded. `--features` is Inception's feature folder (`jattr convert`); without it the recipe
compares pixels, and the run says so.

The output folder is that of a sweep: a run that was stopped goes on where it was. `--try` goes the
whole way with one image of each generator and one restart of a few steps: it shows that the files,
the memory and the report are right, and measures nothing.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jattr.converters.convert import convert

from jattr.errors import InputError
from jattr.generators.store import load_generator
from jattr.runtime import enable_compilation_cache
from jattr.sweep.cells import make_plan
from jattr.sweep.estimate import estimate
from jattr.sweep.report.export import export
from jattr.sweep.report.tables import summary
from jattr.sweep.run import run_plan
from jattr.sweep.spec import Spec
from jattr.sweep.store import open_for_reading
from jattr.sweep.suites import paper_spec

WANTED = {  # family -> (files that it may have, where they are published)
    "progan": (
        ("pggan_celebahq1024.pth",),
        "model zoo of github.com/genforce/genforce: CelebA-HQ",
    ),
    "stylegan": (("stylegan_ffhq1024.pth",), "model zoo of github.com/genforce/genforce: FFHQ"),
    "stylegan2": (
        ("stylegan2_ffhq1024.pth", "ffhq.pkl", "stylegan2-ffhq-1024x1024.pkl"),
        "the same zoo; or the pretrained networks of github.com/NVlabs/stylegan2-ada-pytorch",
    ),
}


TRY_STEPS, TRY_POOL = 3, 16


def tried(spec: Spec) -> Spec:
    """Return the sweep with one restart of a few steps, from few images that guess the start."""
    few = {
        "restarts": 1,
        "steps": TRY_STEPS,
        "pool": TRY_POOL,
        "polish_steps": 0,
        "interval_steps": 0,
    }
    settings = (
        dataclasses.replace(s, config=dataclasses.replace(s.config, **few)) for s in spec.settings
    )
    return dataclasses.replace(spec, settings=tuple(settings), name=f"{spec.name}, tried")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(weights: Path, given: dict[str, str]) -> dict[str, Path]:
    """Return the file of each family.

    Raises:
      InputError: some are missing; the message lists all of them.
    """
    result, missing = {}, []
    for family, (names, where) in WANTED.items():
        choices = [given[family]] if family in given else list(names)
        path = next((weights / name for name in choices if (weights / name).is_file()), None)
        if path is None:
            missing.append(f"{family}: {' or '.join(choices)} ({where})")
        else:
            result[family] = path
    if missing:
        raise InputError(f"{weights} lacks {'; '.join(missing)}")
    return result


def converted(files: dict[str, Path], folder: Path) -> dict[str, str]:
    """Return the generator folder of each family, converted where that was not done before from
    this very file.
    """
    indices = {}
    for family, path in files.items():
        digest = sha256(path)
        print(f"{family}: {path.name}, SHA-256 {digest}", flush=True)
        index = folder / f"{family}-{digest[:16]}"
        if not index.is_dir():
            convert(path, index, name=family)
        load_generator(index)
        indices[family] = str(index)
    return indices


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--list", action="store_true", help="name the files that are wanted, and stop"
    )
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder of the files")
    parser.add_argument(
        "--file", nargs="+", default=[], metavar="FAMILY=NAME", help="files of other names"
    )
    parser.add_argument(
        "--features",
        metavar="FOLDER",
        help="Inception's feature folder, with its layer: F:Mixed_7a",
    )
    parser.add_argument(
        "--images", "--pictures", type=int, help="of each generator (default 10; with --try 1)"
    )
    parser.add_argument(
        "--try",
        dest="tried",
        action="store_true",
        help="the whole way in a few steps, not to measure",
    )
    parser.add_argument("--out", type=Path, metavar="DIR")
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do, and stop")
    args = parser.parse_args()
    if args.list:
        for family, (names, where) in WANTED.items():
            print(f"{family}: {' or '.join(names)}; {where}")
        print(
            "Their digests are not known to us; a run prints and keeps those of the files that it"
            " is given."
        )
        return
    if args.weights is None or args.out is None:
        parser.error("--weights and --out are needed; --list names the files")
    given = {}
    for text in args.file:
        family, _, given_name = text.partition("=")
        if family not in WANTED or not given_name:
            parser.error(
                f"--file {text}: write FAMILY=NAME, where FAMILY is one of {', '.join(WANTED)}"
            )
        given[family] = given_name
    enable_compilation_cache()
    try:
        indices = converted(
            find(args.weights, given), args.out.with_name(args.out.name + "-generators")
        )
        distance = args.features
        if distance is None:
            print("no --features: the paper's recipe compares pixels here, not features")
        count = args.images or (1 if args.tried else 10)
        spec = paper_spec(tuple(indices.values()), count=count, distance=distance)
        plan = make_plan(tried(spec) if args.tried else spec)
        if args.dry_run:
            print(estimate(plan))
            return
        run_plan(
            plan,
            args.out,
            progress=lambda _, kept: print(f"{kept} of {len(plan.cells)}", flush=True),
        )
        with open_for_reading(args.out) as store:
            print(summary(store))
            export(store, args.out / "report", overwrite=True)
        print(
            json.dumps(
                {"out": str(args.out), "files": {f: Path(p).name for f, p in indices.items()}}
            )
        )
    except InputError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
