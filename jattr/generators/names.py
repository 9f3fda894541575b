"""Names of candidates: no two that a reader could take for one another.

A verdict names a candidate, so two candidates whose names look the same make it say what it does
not. Names are compared by what is left of them after NFKC (Unicode Standard Annex 15), case folding
and the folding of confusable characters (Unicode Technical Standard 39, section 4: "skeleton").
"""

import functools
import json
import unicodedata
from collections.abc import Sequence
from importlib import resources

from jattr.errors import GeneratorError, show

TABLE = "confusables.json"
# Characters that are drawn as nothing though their category says otherwise: fillers, the blank of
# Braille, joiners, variation selectors (DerivedCoreProperties.txt: Default_Ignorable_Code_Point).
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code)
    for first, last in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0000, 0xE0FFF))
    for code in range(first, last + 1)
}
INVISIBLE = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")  # categories


def check_candidate_names(names: Sequence[str]) -> None:
    """Check that candidates' names can be read, and told apart.

    Raises:
      GeneratorError: one is empty, begins or ends with a blank, or has characters that are not
        seen; or two agree after NFKC, case folding and the folding of confusable characters.
    """
    taken: dict[str, int] = {}  # what is left of a name -> which one it is
    for number, name in enumerate(names):
        check_candidate_name(name)
        for key in _keys(name):
            first = taken.setdefault(key, number)
            other = names[first]
            if first == number:
                continue
            if other == name:
                raise GeneratorError(f"two candidates are called {name!r}; give each its own name")
            raise GeneratorError(
                f"two candidates are called {show(other)} and {show(name)}, which look alike; give"
                ' one another "name" in its card.json'
            )


def check_candidate_name(name: str) -> None:
    """Check that a candidate's name can be read.

    Raises:
      GeneratorError: it is empty, begins or ends with a blank, or has characters that are not seen.
    """
    if not name or name != name.strip():
        raise GeneratorError(
            f"a candidate is called {show(name)}; a name is not empty and neither begins nor ends"
            ' with a blank: change "name" in its card.json'
        )
    unseen = [c for c in name if c in BLANK or unicodedata.category(c) in INVISIBLE]
    if unseen:
        raise GeneratorError(
            f"a candidate is called {show(name)}, with the character U+{ord(unseen[0]):04X}, which"
            ' is not seen: change "name" in its card.json'
        )


def look_alike(a: str, b: str) -> bool:
    """Return whether two names could be taken for one another.

    >>> look_alike("GAN_1", "gan_l"), look_alike("gan_a", "gan_b")
    (True, False)
    """
    return bool(_keys(a) & _keys(b))


def _keys(name: str) -> frozenset[str]:
    """Return what is left of a name: case folded before, and after, confusables are.

    Neither contains the other: "I" looks like "l", and "i" is its small letter.
    """
    plain = " ".join(unicodedata.normalize("NFKC", name).split())
    return frozenset({_skeleton(_folded(plain)), _skeleton(_folded(_skeleton(plain)))})


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text.casefold())


def _skeleton(text: str) -> str:
    table, sequences = _table()
    text = unicodedata.normalize("NFD", text).translate(table)
    for sequence, single in sequences.items():
        text = text.replace(sequence, single)
    return text


@functools.cache
def _table() -> tuple[dict[int, str], dict[str, str]]:
    """Return the character that stands for each confusable one, and for sequences of them."""
    text = resources.files("jattr.generators").joinpath(TABLE).read_text(encoding="ascii")
    data = json.loads(text)
    classes = data["classes"].items()
    return {ord(each): first for first, rest in classes for each in rest}, data["sequences"]
