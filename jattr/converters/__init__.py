"""Stands for `converters/`, beside this folder's parent, in a checkout; installed, that is here.

`pyproject.toml` installs the folder `converters` as this package, instead of this file, so that no
other project's `converters` is hidden or overwritten.
"""

from pathlib import Path

__path__.append(str(Path(__file__).parents[2] / "converters"))
