"""Published test vectors of the reference folder; what reads them is marked `reference`."""

import json
import os
from pathlib import Path
from typing import Any


def vectors(name: str) -> Any:
    """Return one file of `vectors/`."""
    folder = Path(os.environ["JATTR_REFERENCE"]) / "vectors"
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
