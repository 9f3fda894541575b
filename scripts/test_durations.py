#!/usr/bin/env python3
"""How long the tests took, by suite and by file, from pytest's records.

    python -m pytest -q --junitxml=default.xml
    python -m pytest -q -m "slow or corpus" --junitxml=rest.xml
    python scripts/test_durations.py --default default.xml --rest rest.xml --json FILE

Prints each suite's count and minutes, and the files that took longest. `wall` is what the run took,
`tests` the sum over the tests of all its workers.
"""

import argparse
import collections
import xml.etree.ElementTree as ET
from pathlib import Path

from bench_json import add_json_option, write_json


def suite_row(name: str, suite: ET.Element) -> dict[str, object]:
    """Return the counts and seconds of one run."""
    seconds = sum(float(case.get("time", 0)) for case in suite.iter("testcase"))
    return {
        "suite": name,
        "tests": int(suite.get("tests", 0)),
        "skipped": int(suite.get("skipped", 0)),
        "failed": int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
        "wall (s)": round(float(suite.get("time", 0)), 1),
        "tests (s)": round(seconds, 1),
    }


def file_rows(name: str, suite: ET.Element, most: int) -> list[dict[str, object]]:
    """Return the seconds of the files that took longest."""
    seconds: collections.Counter[str] = collections.Counter()
    for case in suite.iter("testcase"):
        seconds[case.get("classname", "")] += float(case.get("time", 0))
    return [
        {"suite": name, "file": file, "tests (s)": round(value, 1)}
        for file, value in seconds.most_common(most)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--default", type=Path, required=True, help="record of the default suite")
    parser.add_argument("--rest", type=Path, help="record of the slow tests")
    parser.add_argument("--most", type=int, default=15, help="how many files of each are listed")
    add_json_option(parser)
    args = parser.parse_args()
    records = {"default": args.default} | ({"rest": args.rest} if args.rest else {})
    suites = {name: next(ET.parse(path).iter("testsuite")) for name, path in records.items()}
    rows = [suite_row(name, suite) for name, suite in suites.items()]
    for name, suite in suites.items():
        rows += file_rows(name, suite, args.most)
    for row in rows:
        print(", ".join(f"{name}: {value}" for name, value in row.items()))
    write_json(args, rows)


if __name__ == "__main__":
    main()
