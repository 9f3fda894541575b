"""Puts `scripts/` on the path: the tests write checkpoints with the same independent writer as the fuzzer."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
