"""Published test vectors of the reference folder."""

import json
import os
from pathlib import Path
from typing import Any

import pytest


def vectors(name: str) -> Any:
    """Return one file of `vectors/`, or skip the test."""
    folder = os.environ.get("JATTR_REFERENCE")
    if not folder:
        pytest.skip("published test vectors: set JATTR_REFERENCE to the reference folder")
    return json.loads((Path(folder) / "vectors" / f"{name}.json").read_text(encoding="utf-8"))
