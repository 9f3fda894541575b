#!/usr/bin/env python3
"""How long the tests took, by file, from pytest's records.

    python -m pytest -q --junitxml=default.xml
    python scripts/test_durations.py default.xml [rest.xml] [--json FILE] [--most 15]

Prints each record's count and seconds, and the files that took longest. Seconds of tests are the
sum over both workers; `wall` is what the whole run took.
"""

import argparse
import collections
import json
import xml.etree.ElementTree as ET
from pathlib import Path


def read_record(path: Path) -> dict:
    """Return the counts and seconds of one junit file; seconds by test file, the longest first."""
    suite = next(ET.parse(path).getroot().iter("testsuite"))
    seconds: collections.Counter[str] = collections.Counter()
    for case in suite.iter("testcase"):
        seconds[case.get("classname", "")] += float(case.get("time", 0))
    return {
        "tests": int(suite.get("tests", 0)),
        "skipped": int(suite.get("skipped", 0)),
        "failed": int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
        "wall_seconds": round(float(suite.get("time", 0)), 1),
        "test_seconds": round(sum(seconds.values()), 1),
        "files": {name: round(value, 2) for name, value in seconds.most_common()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    parser.add_argument("--most", type=int, default=15, help="how many files are printed")
    args = parser.parse_args()
    records = {path.stem: read_record(path) for path in args.records}
    for name, record in records.items():
        print(
            f"{name}: {record['tests']} tests, {record['skipped']} skipped,"
            f" {record['failed']} failed; {record['wall_seconds'] / 60:.1f} minutes,"
            f" {record['test_seconds'] / 60:.1f} of tests"
        )
        for file, seconds in list(record["files"].items())[: args.most]:
            print(f"  {seconds:8.1f} s  {file}")
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
