"""The verdict, two by two: does inversion fit the model, and does the log hold the image?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jattr.ledger.evidence.bundle import LEVELS
from jattr.ledger.evidence.window import Examination

CONSISTENT = "consistent-with-use"
EDITED = "edited-or-collision"
UNCONFIRMED = "use-not-confirmed"
NOT_SUPPORTED = "denial-not-supported"
SUPPORTED = "supported-denial"
INCOMPLETE = "denial-incomplete"
UNDECIDED = "undecided"
TEXTS = {
    CONSISTENT: "consistent with logged use, entry {use}: the model makes this image, and the log"
    " says when it did",
    EDITED: "the log holds an image like this one, entry {use}, and the model's inversion does not"
    " confirm it: an edited copy of that output, or two images with near hashes; compare them",
    UNCONFIRMED: "no use is confirmed, and no denial supported: the model makes this image, and"
    " entry {use} of the log looks like it, but was not shown to be a use that made it",
    NOT_SUPPORTED: "denial not supported: the model makes this image and the log does not hold it."
    " It was used off"
    " the log, its weights are in other hands, the image was crafted, or the fit is false",
    SUPPORTED: "supported denial: nothing in the complete, witnessed window is near this image,"
    " and searches for it under the model, unaltered or altered as is stated, did not find it"
    " (beside them stands how seldom they miss an own image); edits that were not modelled, such as"
    " a crop or a shift, can hide one",
    INCOMPLETE: "no denial: nothing that was opened is near this image and inversion does not fit,"
    " but the log was not shown completely",
    UNDECIDED: "undecided: inversion neither fits nor rules the model out; more restarts, the file"
    " as it was first saved, or the alteration by name would settle it",
}

LEAST_SAMPLE = 8  # outputs made again, or all that there are: with fewer no denial is supported
PARTS = {  # of the counts -> what is missing where they are not 0
    "unopened": "outputs of the window were not opened",
    "erased": "outputs of the window were erased and cannot be opened",
    "unreadable": "entries of the window are no leaves of this schema and may hide uses",
    "astray": "outputs of the window lead to no use of a model, or to one that has another output",
    "hashless": "opened outputs have the hash of an image without structure, which is near to"
    " nothing",
}


@dataclass(frozen=True)
class Verdict:
    """What the evidence comes to."""

    kind: str  # a key of TEXTS
    use: int | None  # entry of the log that holds the image
    text: str
    weaknesses: tuple[str, ...]  # why it is no more

    @property
    def json(self) -> dict[str, object]:
        """The values that the bundle states."""
        return {
            "kind": self.kind,
            "use": self.use,
            "text": self.text,
            "weaknesses": list(self.weaknesses),
        }


@dataclass(frozen=True)
class Regenerated:
    """What an entry shows whose image was made again."""

    entry: int
    problem: str  # why it does not count; empty if latent, image and commitments belong together
    same: bool  # its pixels are those of the questioned image
    near: bool  # its perceptual hash is near (orphans: of the image that was made again)
    explains: bool  # its latent makes the questioned image, under what was done to that


def judge(
    fit: str,
    certified: bool,
    examined: Examination,
    regenerated: Sequence[Regenerated],
    witnessed: bool,
    level: str,
) -> Verdict:
    """Return the verdict.

    Args:
      fit: "fits", "does-not-fit" or "undecided".
      certified: the fit is a certificate.
      examined: what leaves and openings show.
      regenerated: the entries that were made again.
      witnessed: both ends of the window have the cosignatures of independent witnesses.
      level: of what was opened.
    """
    weak = weaknesses(examined, regenerated, witnessed, level)
    sound = {each.entry: each for each in regenerated if not each.problem}
    # Entries that are the image: by their pixels, or because their latent explains it.
    same = {
        entry
        for entry, each in sound.items()
        if each.same or each.explains or entry in examined.exact
    }
    if same:
        return _verdict(CONSISTENT, min(same), weak)
    # Entries that look like it, the nearest first. Orphans have no logged hash, only an image.
    distances = dict(examined.near)
    for each in sound.values():
        if each.near and each.entry in examined.orphans:
            distances[each.entry] = 0
    distances |= dict.fromkeys(examined.exact, 0)
    near = sorted(distances, key=lambda entry: (distances[entry], entry))
    # Two by two: inversion fits or not, the log holds an image like it or not.
    if near and fit == "fits":
        return _judge_lookalikes(near, sound, certified, weak)
    if near:
        return _verdict(EDITED, near[0], weak)
    if fit == "fits":
        return _verdict(NOT_SUPPORTED, None, weak)
    if fit == "undecided":
        return _verdict(UNDECIDED, None, weak)
    return _verdict(INCOMPLETE if weak else SUPPORTED, None, weak)


def weaknesses(
    examined: Examination, regenerated: Sequence[Regenerated], witnessed: bool, level: str
) -> tuple[str, ...]:
    """Return why the log's side of the evidence is no more, one sentence each."""
    counts, reasons = examined.counts, []
    if not witnessed:
        reasons.append(
            "no independent witness has cosigned both ends of the window: another log may have"
            " been shown"
        )
    if level != LEVELS[-1]:
        reasons.append(
            f"only the level {level} was opened, so nothing shows that the openings are true"
        )
    if not counts["entries"]:
        reasons.append("the window has no entries")
    elif not counts["of_the_model"]:
        reasons.append(
            "the window has no output by this model, so nothing shows that its uses are logged"
        )
    for name, why in PARTS.items():
        if counts[name]:
            reasons.append(f"{counts[name]} {why}")
    if level == LEVELS[-1] and len(examined.sample) < min(LEAST_SAMPLE, counts["results"]):
        reasons.append(
            f"a sample of {len(examined.sample)} outputs was made again; at least {LEAST_SAMPLE}"
            " are needed"
        )
    if examined.featureless:
        reasons.append("the image has next to no structure, so its perceptual hash says nothing")
    missing = sorted(set(examined.to_regenerate) - {each.entry for each in regenerated})
    if level == LEVELS[-1] and missing:
        reasons.append(
            f"{len(missing)} entries that had to be made again were not, the first: {missing[0]}"
        )
    reasons += [f"entry {each.entry}: {each.problem}" for each in regenerated if each.problem]
    return tuple(reasons)


def _judge_lookalikes(
    near: Sequence[int], sound: Mapping[int, Regenerated], certified: bool, weak: tuple[str, ...]
) -> Verdict:
    """Return the verdict on an image that fits and looks like outputs that do not explain it.

    A certificate tells them apart, if all of them were shown: then it is another image. Without one
    an output that was shown to be a use of the model is taken for it. One that was not, or turned
    out false, confirms nothing: its owner can have logged it after the accusation.
    """
    if certified and all(entry in sound for entry in near):
        return _verdict(NOT_SUPPORTED, None, weak)
    use = next((entry for entry in near if entry in sound), None)
    if certified or use is None:
        return _verdict(UNCONFIRMED, near[0], weak)
    return _verdict(CONSISTENT, use, weak)


def _verdict(kind: str, use: int | None, weak: tuple[str, ...]) -> Verdict:
    return Verdict(kind, use, TEXTS[kind].format(use=use), weak)
