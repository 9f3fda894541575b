"""Files that operating systems leave in folders by themselves, and links of Hugging Face's cache.

Looking at a folder is enough for the first, and the second is how that cache stores each file.
"""

import os
import stat
from pathlib import Path

LITTER = frozenset(
    {
        # macOS
        ".ds_store", ".localized", "icon\r", ".appledouble", "__macosx", ".spotlight-v100",
        ".trashes", ".fseventsd", ".temporaryitems", ".documentrevisions-v100", ".apdisk",
        ".volumeicon.icns",
        # Windows
        "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "desktop.ini", "$recycle.bin",
        "system volume information",
        # Linux desktops, Synology, Dropbox, Android, Jupyter
        ".directory", "@eadir", ".dropbox", ".dropbox.attr", ".nomedia", ".thumbnails",
        ".ipynb_checkpoints",
    }
)  # fmt: skip
# ._NAME: what macOS stores beside a file on foreign disks; deleted files that are still open
LITTER_STARTS = ("._", ".nfs0", ".fuse_hidden", ".trash-")
LITTER_ENDS = (":zone.identifier",)  # where a file came from, as Windows notes it


def is_litter(name: str) -> bool:
    """Return whether a name is one that operating systems give, and programs do not.

    >>> [is_litter(name) for name in (".DS_Store", "._0.0", "Thumbs.db", "0.0", ".zarray")]
    [True, True, True, False, False]
    """
    lower = name.lower()
    return lower in LITTER or lower.startswith(LITTER_STARTS) or lower.endswith(LITTER_ENDS)


def cached_file(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the plain file that a link of Hugging Face's cache leads to; None for other links.

    In that cache every file of `models--NAME/snapshots/REVISION/` is a link into
    `models--NAME/blobs/`. Any other target, as a device, a pipe, a folder or a file elsewhere, is
    none: what lies there was not downloaded with the rest.
    """
    try:
        target = Path(os.path.realpath(path, strict=True))
        folders = Path(os.path.realpath(os.path.dirname(os.path.abspath(path)))).parents
        status = target.lstat()
    except (OSError, ValueError):  # a link to nowhere, or in a circle
        return None
    blobs = [folder.parent / "blobs" for folder in folders if folder.name == "snapshots"]
    return status if stat.S_ISREG(status.st_mode) and target.parent in blobs else None
