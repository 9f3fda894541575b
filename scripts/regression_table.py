"""The table of speed by version: rows that `compare_with_torch.py --table FILE` appends, for
`docs/benchmarks.md`.

A machine is not the same every day: each row states the rate of a matrix product in the same run,
beside which the steps are to be read, and the load.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "version",
    "commit",
    "matmul GFLOP/s",
    "load",
    "generator",
    "lanes",
    "latent-steps/s",
    "ms a latent-step",
    "PyTorch ms",
    "PyTorch / ours",
    "peak MiB",
    "PyTorch MiB",
)
NONE = "-"  # not measured in that run


def rows_of(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for each generator and number of lanes of a comparison.

    Args:
      result: what `compare_with_torch.py` prints as JSON: parts "a" and "d" where they were run,
        and its origin.
    """
    speed = {(row["generator"], row["lanes"]): row for row in result.get("a", ())}
    memory = {(row["generator"], row["lanes"]): row for row in result.get("d", ())}
    rate, load = f"{result['matmul_gflops']:.0f}", f"{result['load_average']:.1f}"
    origin = (result["versions"]["jattr"], result["commit"], rate, load)
    rows = []
    for name, lanes in dict.fromkeys([*speed, *memory]):
        fast, small = speed.get((name, lanes), {}), memory.get((name, lanes), {})
        values = [
            fast.get(key)
            for key in (
                "jattr_steps_per_second",
                "jattr_ms_a_latent_step",
                "torch_ms_a_latent_step",
            )
        ]
        values += [fast.get("ratio"), small.get("jattr_peak_mib"), small.get("torch_peak_mib")]
        shown = [
            NONE if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
            for value in values
        ]
        rows.append((*origin, name, str(lanes), *shown))
    return rows


def as_text(rows: Sequence[Sequence[str]], *, header: bool) -> str:
    """Return Markdown.

    >>> print(as_text([["1"] * 12], header=False), end="")
    | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 |
    """
    head = [COLUMNS, ["---"] * len(COLUMNS)] if header else []
    return "".join(f"| {' | '.join(row)} |\n" for row in (*head, *rows))


def append(path: Path, result: Mapping[str, Any]) -> None:
    """Append the rows of a comparison to a file, with the heading where the file is new."""
    text = as_text(rows_of(result), header=not path.exists())
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
