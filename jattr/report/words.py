"""Results in words, whatever the names of files and models are."""

from __future__ import annotations

from typing import Any

LONGEST_VERDICT = 48


def shown(text: str, longest: int) -> str:
    """Return text that is safe to print: control characters escaped, the middle left out where it
    is too long.

    >>> shown("a" + chr(27) + "[31m", 20), shown("a-very-long-name.png", 12)
    ('a\\\\x1b[31m', 'a-ver....png')
    """
    half = 2 * longest  # escapes lengthen a text, so no more of it is needed
    if len(text) > 2 * half:
        text = text[:half] + text[-half:]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(safe) <= longest:
        return safe
    kept = longest - 3
    return f"{safe[: (kept + 1) // 2]}...{safe[len(safe) - kept // 2 :]}"


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
