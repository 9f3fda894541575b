"""Output folders: whole or not there at all. One that is there is replaced only if jattr wrote
all that is in it.
"""

from jattr.folders.writing import AnyPath, check_folder, new_folder

__all__ = ["AnyPath", "check_folder", "new_folder"]
