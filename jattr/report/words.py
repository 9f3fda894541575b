"""Results in words, whatever the names of files and models are."""

from jattr.printable import shown
from jattr.typing import JsonObject

LONGEST_VERDICT = 48


def verdict_text(row: JsonObject) -> str:
    """Return a row's verdict in words."""
    if row["verdict"] == "none":
        return "none of the candidates"
    if row["verdict"] != "made-by":
        return str(row["verdict"])
    certificate, proof = row["certificate"], ""
    if certificate is not None:
        proof = " (certificate, bit-exact)" if certificate["bit_exact"] else " (certificate)"
    return f"made by {shown(' or '.join(row['candidates']), LONGEST_VERDICT)}{proof}"
