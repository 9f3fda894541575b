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


LONGEST_NAME = 60  # characters of a candidate's name where its digest stands beside it
DIGITS = 8  # of a digest: enough to tell candidates apart by eye, too few to prove anything


def named(name: str, digest: str, longest: int = LONGEST_NAME) -> str:
    """Return a candidate's name, safe to print, and the first digits of its digest.

    >>> named("progan_a", "0123456789abcdef"), named("progan_a", "")
    ('progan_a [01234567]', 'progan_a')
    """
    return f"{shown(name, longest)} [{digest[:DIGITS]}]" if digest else shown(name, longest)
