"""What a second look at an image, under alterations that nobody named, adds to its verdict."""

import dataclasses
from dataclasses import dataclass

from jattr.decision.description_length import MIN_BITS
from jattr.decision.verdict import Verdict

END_BITS = 16  # of a fitted end of a stretch: to 1/256 of a byte


@dataclass(frozen=True)
class Looked:
    """What a second look tried of an image, and what it came to."""

    alterations: tuple[str, ...]  # that were tried
    chosen: str = ""  # the alteration under which a certificate was found; "": none
    bits: float = 0.0  # in which that was chosen, after looking
    # of what came near without a certificate: the alteration in words, the candidate, the mean
    # square that was left, and what `--alteration` would name; "": nothing did
    near: str = ""
    candidate: str = ""
    misfit: float = 0.0
    hint: str = ""
    wrapped: bool = False  # whether the bytes look like values modulo 256


def after_second_look(verdict: Verdict, looked: Looked | None) -> Verdict:
    """Return the verdict that stands after a second look, with its sentence.

    Args:
      verdict: the decision on the image as it is, or under the alteration that was chosen.
      looked: what the second look came to; None: there was none.
    """
    if looked is None or verdict.kind == "failed":
        return verdict
    if looked.chosen:
        return _chosen(verdict, looked)
    # A certificate that stands without the second look needs nothing of it.
    if verdict.certificate is not None:
        return verdict
    if looked.near:
        flag = f", as --alteration '{looked.hint}'" if looked.hint else ""
        reason = (
            f"as it is no candidate explains it, but {looked.near} {looked.candidate} comes near"
            f" (residual {looked.misfit:.1e}) without proof; find the original file, or name what"
            f" was done{flag}"
        )
        return Verdict("undecided", (), None, verdict.margin, reason)
    if looked.wrapped and verdict.kind == "none":
        reason = (
            "as it is no candidate explains it, but its bytes look like values modulo 256, and a"
            " candidate's own image saved so would end as far away; give an image that was cut off"
            " at 0 and 255, or name --alteration wrap:127.5:255, or wrap"
        )
        return Verdict("undecided", (), None, verdict.margin, reason)
    if verdict.kind == "none":
        under = ", ".join(looked.alterations)
        reason = f"{verdict.reason}; as it is, and under: {under} (by a brief screening)"
        return dataclasses.replace(verdict, reason=reason)
    return verdict


def _chosen(verdict: Verdict, looked: Looked) -> Verdict:
    """Return the verdict under an alteration that was chosen after looking."""
    certificate = verdict.certificate
    if certificate is None or certificate.evidence_bits - looked.bits < MIN_BITS:
        reason = f"{looked.chosen} was chosen after looking, without evidence enough for that"
        return Verdict("undecided", (), None, verdict.margin, reason)
    reason = (
        f"{verdict.reason}; as it is no candidate explains it, and {looked.chosen} was chosen after"
        f" looking, from {len(looked.alterations)} kinds of alteration ({looked.bits:.0f} of the"
        f" bits of evidence are the choice's)"
    )
    return dataclasses.replace(verdict, reason=reason)
