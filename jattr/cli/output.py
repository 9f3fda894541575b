"""Output folders of subcommands: `new_folder` writes beside the target and renames once."""

from jattr.folders import new_folder

__all__ = ["new_folder"]
