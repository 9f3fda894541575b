"""Text of others, made safe to print."""


def shown(text: str, longest: int) -> str:
    """Return text with control characters escaped, and its middle left out where it is too long.

    >>> shown("a" + chr(27) + "[31m", 20), shown("a-very-long-name.png", 12)
    ('a\\\\x1b[31m', 'a-ver....png')
    """
    half = 2 * longest  # escapes only lengthen a text, so this much of each end suffices
    if len(text) > 2 * half:
        text = text[:half] + text[-half:]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(safe) <= longest:
        return safe
    room = longest - 3
    return f"{safe[: (room + 1) // 2]}...{safe[len(safe) - room // 2 :]}"
