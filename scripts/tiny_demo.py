"""The whole main job on two tiny generators with random weights, made on the spot by the tests' fixture.

Not real generators: they show the commands until a real checkpoint is at hand. Prints each command before it runs.
"""

import logging
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tiny_generator import tiny_card_data, tiny_weights  # noqa: E402

from jattr.cli.main import main  # noqa: E402

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax warns at every save that there is nothing to merge


def make_folders(folder: Path) -> list[str]:
    """Write two tiny generators, equal but for their weights, as generator folders."""
    from converters.layered import convert_layered
    from jattr.generators.card import parse_card
    from jattr.generators.store import save_generator

    paths = []
    for seed, name in enumerate(("tiny_a", "tiny_b")):
        card = parse_card(tiny_card_data(name=name))
        save_generator(folder / name, card, convert_layered(card, tiny_weights(seed=seed)), overwrite=True)
        paths.append(str(folder / name))
    return paths


def run(*arguments: str) -> None:
    """Print and run one jattr command."""
    print("\n$ jattr", *arguments, flush=True)
    code = main(list(arguments))
    if code:
        sys.exit(code)


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="jattr-tiny-"))
    tiny_a, tiny_b = make_folders(out)
    run("generate", tiny_a, "--n", "4", "--seed", "7", "--out", str(out / "pictures"), "--overwrite")
    pictures = [str(path) for path in sorted((out / "pictures").glob("*.png"))]
    run("attribute", *pictures, "--candidates", tiny_a, tiny_b, "--out", str(out / "result"), "--overwrite")
    run("verify", str(out / "result"), "--candidates", tiny_a, tiny_b)
    print(f"\nlook at {out / 'result' / 'contact_sheet.png'}")
