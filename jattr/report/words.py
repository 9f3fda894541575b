"""Results in words, whatever the names of files and models are."""

from collections.abc import Mapping, Sequence

from jattr.decision.weights_age import age_text
from jattr.printable import DIGITS, named, shown
from jattr.typing import JsonObject

LONGEST_VERDICT = 48  # characters of a name, or of several


def verdict_text(row: JsonObject, digests: Mapping[str, str] | None = None) -> str:
    """Return a row's verdict in words, the first digits of its digest with every name.

    Args:
      row: of `result.json`.
      digests: of the candidates, by name; None: names stand alone.
    """
    if row["verdict"] == "none":
        return "none of the candidates"
    if row["verdict"] != "made-by":
        return str(row["verdict"])
    certificate, proof = row["certificate"], ""
    if certificate is not None:
        proof = " (certificate, bit-exact)" if certificate["bit_exact"] else " (certificate)"
    if digests is None:
        return f"made by {shown(' or '.join(row['candidates']), LONGEST_VERDICT)}{proof}"
    longest = max(DIGITS, LONGEST_VERDICT // max(1, len(row["candidates"])))
    names = [named(name, digests[name], longest) for name in row["candidates"]]
    return f"made by {' or '.join(names)}{proof}"


def digests_of(data: JsonObject) -> dict[str, str]:
    """Return the digests of a result's candidates, by name."""
    return {candidate["name"]: candidate["digest"] for candidate in data["candidates"]}


def ages_of(row: JsonObject, data: JsonObject) -> list[str]:
    """Return what a row's certificate says of the age of each named candidate's weights."""
    if row["certificate"] is None:
        return []
    dates = {each["name"]: each.get("weights_dated") for each in data["candidates"]}
    digests = digests_of(data)
    texts = {name: age_text(dates[name]) for name in row["candidates"]}
    if len(texts) == 1:
        return list(texts.values())
    return [f"{named(name, digests[name])}: {text}" for name, text in texts.items()]


def role_of(name: str, row: JsonObject) -> str:
    """Return what a verdict says of one candidate, beside its name; "" where it says nothing.

    Of a class nobody can tell which one it was.
    """
    if name not in row["candidates"]:
        return ""
    others = len(row["candidates"]) - 1
    if not others:
        return "made it" if row["certificate"] is not None else "made it, by thresholds"
    return f"made it, or {_other(others)}"


def _other(count: int) -> str:
    return "the other one did" if count == 1 else f"one of {count} others did"


def rests_on(row: JsonObject, data: JsonObject) -> Sequence[str]:
    """Return what `jattr verify` needs to verify a row's verdict, besides folder and images."""
    if row["verdict"] == "failed" or row["certificate"] is not None:
        return ()
    return (
        ("--calibration FILE", "--search") if data["settings"].get("calibration") else ("--search",)
    )
