"""Output folders: whole or not there; one is replaced only if jattr wrote all that is in it."""

from jattr.folders.writing import (
    AnyPath,
    absolute_path,
    check_folder,
    name_beside,
    new_folder,
)

__all__ = ["AnyPath", "absolute_path", "check_folder", "name_beside", "new_folder"]
