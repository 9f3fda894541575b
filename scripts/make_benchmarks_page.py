"""Write `docs/benchmarks.md` from the JSON files under `docs/benchmarks/`.

    python scripts/make_benchmarks_page.py            # writes the page
    python scripts/make_benchmarks_page.py --check    # says whether it is up to date: exit code 1
    if not

`docs/benchmarks/VERSION/NAME.json` holds what `bench_json.py` writes. It may also state a `title`,
a `goal`, `notes` (paragraphs of Markdown) and a `provenance`. Files of other forms are shown as the
numbers that they hold.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
DATA = ROOT / "docs" / "benchmarks"
HEAD = """# Benchmarks

<!-- Written by scripts/make_benchmarks_page.py from docs/benchmarks/. Do not edit. -->

This page is generated from the JSON files that its sections link to; each states the command behind
its numbers. Files that a script wrote with `--json` also state the commit and the settings. Where a
section says "transcribed", its file was copied from the tables of an earlier version's pages. `REF`
is the folder with the public generators. Bounds ("at most") are one-sided, at 95 %.

Words: *residual*, the mean squared difference, bytes scaled to [-1, 1]; *rounding floor*, what
8-bit rounding leaves of it, 5.1e-6; *restart*, one search from one start; *closed set*, the maker
is among the candidates; *AUROC*, 1.0 where own and other images are told apart without error;
*Cllr*, the cost of the likelihood ratios, 0 at best. The [glossary](glossary.md) has the others.
"""
ORIGIN = (
    "schema",
    "title",
    "command",
    "config",
    "seed",
    "digests",
    "versions",
    "commit",
    "device",
    "load_average",
    "count",
    "notes",
    "provenance",
    "goal",
)
LONGEST_LIST = 6  # longer ones are data for a figure, not for a table


def flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the numbers and texts of a row, nested ones under `outer.inner`.

    >>> dict(flat({"a": 1, "b": {"c": 2, "d": list(range(99))}}))
    {'a': 1, 'b.c': 2}
    """
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield prefix + name, value
        elif len(value) <= LONGEST_LIST and not any(
            isinstance(one, list | Mapping) for one in value
        ):
            yield prefix + name, ", ".join(shown(one) for one in value)


def shown(value: Any) -> str:
    """Return a value as the page shows it.

    >>> [shown(value) for value in (None, True, 3, 0.123456, 12345, "a | b")]
    ['', 'yes', '3', '0.1235', '12,345', 'a \\\\| b']
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table; a single row of many columns stands upright."""
    several = [dict(flat(row)) for row in rows]
    columns = list(dict.fromkeys(name for row in several for name in row))
    if not columns:
        return ""
    lines: list[list[str]] = [columns, ["---"] * len(columns)]
    lines += [[shown(row.get(name)) for name in columns] for row in several]
    if len(several) == 1 and len(columns) > 2:
        lines = [
            ["what", "measured"],
            ["---", "---"],
            *([name, shown(several[0][name])] for name in columns),
        ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def facts(measured: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """Return the line that says under which circumstances something was measured.

    `shared` ones are left out.
    """
    measured = {name: value for name, value in measured.items() if shared.get(name) != value}
    named = {
        "goal": measured.get("goal"),
        "seed": measured.get("seed"),
        "count": measured.get("count"),
        "device": measured.get("device"),
        "load": measured.get("load_average"),
        "commit": measured.get("commit"),
        "versions": ", ".join(
            f"{name} {number}" for name, number in (measured.get("versions") or {}).items()
        )
        or None,
    }
    return "; ".join(
        f"{name}: {shown(value)}" for name, value in named.items() if value is not None
    )


def shared_by(files: Sequence[Any]) -> dict[str, Any]:
    """Return the device and the versions, where they are the same for all of several files."""
    first = files[0] if isinstance(files[0], Mapping) else {}
    same = {}
    for name in ("device", "versions"):
        if all(
            isinstance(result, Mapping) and result.get(name) == first.get(name) for result in files
        ):
            same[name] = first.get(name)
    return same


def section(path: Path, measured: Any, shared: Mapping[str, Any] | None = None) -> str:
    """Return a file's section of the page."""
    if not isinstance(measured, Mapping):
        measured = {"rows": measured}
    rows = measured.get("rows")
    if not (isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)):
        rows = [{name: value for name, value in measured.items() if name not in ORIGIN}]
    title = measured.get("title") or path.stem.replace("_", " ").replace("-", " ")
    parts = [f"### {title}", f"[{path.name}]({path.relative_to(PAGE.parent).as_posix()})"]
    if command := measured.get("command"):
        text = command if isinstance(command, str) else "\n".join(command)
        parts.append(
            f"```\n{text}\n```"
            if any(word in text for word in ("python ", "jattr "))
            else f"Commands: {text}."
        )
    parts += [
        facts(measured, shared or {}),
        table(rows),
        *measured.get("notes", ()),
        measured.get("provenance", ""),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def page() -> str:
    """Return the text of `docs/benchmarks.md`."""
    folders = sorted(
        {path.parent for path in DATA.rglob("*.json")},
        key=version_of,
        reverse=True,
    )
    parts = [HEAD]
    for folder in folders:
        name = folder.relative_to(DATA).as_posix()
        parts.append("## Other measurements\n" if name == "." else f"## Version {name}\n")
        files = {
            path: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(folder.glob("*.json"))
        }
        shared = shared_by(list(files.values()))
        if said := facts(shared, {}):
            parts.append(said[0].upper() + said[1:] + ".\n")
        parts += [section(path, result, shared) for path, result in files.items()]
    return "\n".join(parts)


def version_of(folder: Path) -> tuple[list[int], str]:
    """Return what folders are sorted by: their version, if their name is one.

    >>> sorted([Path("0.10.0"), Path("0.2.0"), Path("x")], key=version_of)
    [PosixPath('x'), PosixPath('0.2.0'), PosixPath('0.10.0')]
    """
    numbers = folder.name.split(".")
    return (
        [int(number) for number in numbers] if all(number.isdecimal() for number in numbers) else []
    ), folder.name


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if the page is out of date"
    )
    args = parser.parse_args()
    if args.check:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
