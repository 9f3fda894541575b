"""An extension of griffe: docstrings as they are written here become Markdown on the site.

Docstrings have their examples as plain doctests, which Markdown would take for quotations, and
shapes such as `[images][candidates]`, which it would take for links.
"""

import re
from typing import Any

import griffe

# An example begins at a prompt that begins a line and ends at an empty line. Code in backticks is
# left as it is.
PIECES = re.compile(r"(^>>> .*?(?=\n\s*\n|\Z)|`[^`\n]*`)", re.DOTALL | re.MULTILINE)


def as_markdown(text: str) -> str:
    """Return a docstring's text with its doctests in fences, and nothing else taken for a link.

    >>> as_markdown("One.\\n\\n>>> 1 + 1\\n2")
    'One.\\n\\n```pycon\\n>>> 1 + 1\\n2\\n```'
    >>> as_markdown("found, [a][b], `[a][b]`")
    'found, [a]\\\\[b], `[a][b]`'
    """
    pieces = PIECES.split(text)
    for i, piece in enumerate(pieces):
        if piece.startswith(">>> "):
            pieces[i] = f"```pycon\n{piece}\n```"
        elif not piece.startswith("`"):
            pieces[i] = piece.replace("][", "]\\[")
    return "".join(pieces)


class Docstrings(griffe.Extension):
    """Changes the docstring of every object."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change one object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
