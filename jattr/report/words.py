"""Results in words, whatever the names of files and models are."""

from __future__ import annotations

from typing import Any

from jattr.printable import shown

LONGEST_VERDICT = 48


def verdict_text(row: dict[str, Any]) -> str:
    """Return a row's verdict in words."""
    if row["verdict"] != "made-by":
        return "none of the candidates" if row["verdict"] == "none" else str(row["verdict"])
    certificate = row["certificate"]
    proof = (
        ""
        if certificate is None
        else " (certificate, bit-exact)"
        if certificate["bit_exact"]
        else " (certificate)"
    )
    return f"made by {shown(' or '.join(row['candidates']), LONGEST_VERDICT)}{proof}"
