"""The verdict as a function of what was found: two by two, and what only weakens."""

import itertools
from typing import Any

import pytest

from jattr.ledger.evidence.bundle import FIT_WORDS, LEVELS
from jattr.ledger.evidence.judge import (
    CONSISTENT,
    EDITED,
    INCOMPLETE,
    LEAST_SAMPLE,
    NOT_SUPPORTED,
    SUPPORTED,
    UNCONFIRMED,
    UNDECIDED,
    Regenerated,
    Verdict,
    judge,
    weaknesses,
)
from jattr.ledger.evidence.window import Examination

FULL = LEVELS[-1]


def examined(**changes: Any) -> Examination:
    """A complete window of twelve entries and four outputs, none of them near."""
    counts = {
        "entries": 12,
        "results": 4,
        "of_the_model": 4,
        "opened": 4,
        "unopened": 0,
        "erased": 0,
        "orphans": 0,
        "unreadable": 0,
        "astray": 0,
        "hashless": 0,
    }
    counts |= changes.pop("counts", {})
    facts: dict[str, Any] = {
        "closest": 120,
        "near": (),
        "exact": (),
        "sample": (3, 5, 7, 9),
        "orphans": (),
        "featureless": False,
        "hash": "0" * 64,
    }
    return Examination(counts=counts, **facts | changes)


def good(*entries: int, **facts: bool) -> list[Regenerated]:
    known = {"same": False, "near": False, "explains": False}
    return [Regenerated(entry, "", **known) for entry in (3, 5, 7, 9) if entry not in entries] + [
        Regenerated(entry, "", **known | facts) for entry in entries
    ]


def false(entry: int, problem: str) -> list[Regenerated]:
    return [
        Regenerated(entry, problem, True, True, True),
        *(one for one in good() if one.entry != entry),
    ]


def verdict(fit: str, found: Examination, shown: list[Regenerated], **options: Any) -> Verdict:
    known = {"certified": fit == "fits", "witnessed": True, "level": FULL}
    return judge(fit, examined=found, regenerated=shown, **known | options)


NEAR, EXACT = examined(near=((5, 12),)), examined(near=((5, 0),), exact=(5,))


@pytest.mark.parametrize(
    ("fit", "found", "shown", "kind", "use"),
    [
        # the log holds it
        ("fits", EXACT, good(5, same=True, near=True, explains=True), CONSISTENT, 5),
        # the model makes it, as was shown
        ("does-not-fit", EXACT, good(5, same=True, near=True), CONSISTENT, 5),
        # an edit that is modelled
        ("undecided", NEAR, good(5, near=True, explains=True), CONSISTENT, 5),
        # its hash is far, its latent makes the image
        ("fits", examined(), good(7, explains=True), CONSISTENT, 7),
        ("does-not-fit", NEAR, good(5, near=True), EDITED, 5),
        ("undecided", NEAR, good(5, near=True), EDITED, 5),
        # it does not
        ("fits", examined(), good(), NOT_SUPPORTED, None),
        # looks alike, and another latent made it
        ("fits", NEAR, good(5, near=True), NOT_SUPPORTED, None),
        ("does-not-fit", examined(), good(), SUPPORTED, None),
        ("undecided", examined(), good(), UNDECIDED, None),
    ],
)
def test_two_by_two(
    fit: str, found: Examination, shown: list[Regenerated], kind: str, use: int | None
) -> None:
    made = verdict(fit, found, shown)
    assert (made.kind, made.use, made.weaknesses) == (kind, use, ())
    assert (f"entry {use}" in made.text) == (use is not None)


def test_a_fit_without_a_certificate_does_not_tell_near_outputs_apart() -> None:
    shown = good(5, near=True)
    assert verdict("fits", NEAR, shown, certified=False).kind == CONSISTENT
    assert verdict("fits", NEAR, shown, certified=True).kind == NOT_SUPPORTED


def test_a_logged_image_that_the_model_does_not_make_is_no_use_of_it() -> None:
    """The pixels are in the log, but the entry is a lie.

    The log holds an image, and no use that made it.
    """
    shown = false(5, "the model does not make the logged image from its latent")
    assert verdict("does-not-fit", EXACT, shown).kind == EDITED
    alone = examined(exact=(5,), featureless=True)  # featureless hashes are near to nothing
    assert verdict("does-not-fit", alone, shown).kind == EDITED


def test_an_orphan_that_is_near_is_a_hit() -> None:
    found = examined(orphans=(11,), counts={"orphans": 1})
    assert (
        verdict("does-not-fit", found, [*good(), Regenerated(11, "", False, True, False)]).kind
        == EDITED
    )
    assert (
        verdict("does-not-fit", found, [*good(), Regenerated(11, "", True, True, True)]).use == 11
    )
    assert (
        verdict("does-not-fit", found, [*good(), Regenerated(11, "", False, False, False)]).kind
        == SUPPORTED
    )
    assert verdict("does-not-fit", found, good()).kind == INCOMPLETE


@pytest.mark.parametrize("certified", [True, False])
@pytest.mark.parametrize(
    "shown",
    [
        # logged after the accusation
        false(5, "the model does not make the logged image from its latent"),
        [one for one in good() if one.entry != 5],  # it was not shown
    ],
)
def test_an_output_that_only_looks_alike_confirms_no_use(
    shown: list[Regenerated], certified: bool
) -> None:
    made = verdict("fits", NEAR, shown, certified=certified)
    assert (made.kind, made.use) == (UNCONFIRMED, 5)
    assert "no denial supported" in made.text
    assert verdict("fits", NEAR, [], level="perceptual", certified=certified).kind == UNCONFIRMED


EMPTY = {"entries": 0, "results": 0, "of_the_model": 0, "opened": 0}
GAPS: dict[str, tuple[Examination, list[Regenerated], dict[str, Any]]] = {
    "no independent witness": (examined(), good(), {"witnessed": False}),
    "only the level perceptual": (examined(), good(), {"level": "perceptual"}),
    "only the level commitments": (examined(), good(), {"level": "commitments"}),
    "not opened": (examined(counts={"opened": 3, "unopened": 1}), good(), {}),
    "were erased": (examined(counts={"erased": 1}), good(), {}),
    "no leaves of this schema": (examined(counts={"unreadable": 2}), good(), {}),
    "lead to no use of a model": (examined(counts={"astray": 1}), good(), {}),
    "near to nothing": (examined(counts={"hashless": 1}), good(), {}),
    "no output by this model": (examined(counts={"of_the_model": 0}), good(), {}),
    "next to no structure": (examined(featureless=True), good(), {}),
    "the window has no entries": (examined(sample=(), counts=EMPTY), [], {}),
    "a sample of 3": (examined(sample=(3, 5, 7)), good(), {}),
    "1 entries that had to be made again were not, the first: 3": (examined(), good()[1:], {}),
    "entry 5: it is of another": (examined(), false(5, "it is of another"), {}),
}


@pytest.mark.parametrize("gap", GAPS)
def test_every_gap_weakens_a_denial(gap: str) -> None:
    found, shown, options = GAPS[gap]
    made = verdict("does-not-fit", found, shown, **options)
    assert made.kind == INCOMPLETE
    assert [weak for weak in made.weaknesses if gap in weak]
    for fit in ("fits", "undecided"):
        assert verdict(fit, found, shown, **options).kind in (NOT_SUPPORTED, UNDECIDED)


def test_a_sample_of_all_there_is_is_enough() -> None:
    few = examined(sample=(3, 5), counts={"results": 2, "opened": 2})
    assert verdict("does-not-fit", few, good()).kind == SUPPORTED
    none = examined(sample=(), counts={"results": 0, "of_the_model": 0, "opened": 0})
    # nothing shows that uses are logged at all
    assert verdict("does-not-fit", none, []).kind == INCOMPLETE
    many = examined(sample=tuple(range(LEAST_SAMPLE)), counts={"results": 1000, "opened": 1000})
    shown = [Regenerated(entry, "", False, False, False) for entry in range(LEAST_SAMPLE)]
    assert verdict("does-not-fit", many, shown).kind == SUPPORTED


def test_over_the_whole_grid_only_complete_windows_support_a_denial() -> None:
    shown_kinds = [
        good(),
        [one for one in good() if one.entry != 3],
        good(5, near=True),
        good(5, same=True),
        good(7, explains=True),
    ]
    windows = [examined(), NEAR, EXACT, *(found for found, _, _ in GAPS.values())]
    kinds = set()
    for fit, found, shown, witnessed, level in itertools.product(
        FIT_WORDS, windows, shown_kinds, (True, False), LEVELS
    ):
        made = judge(fit, fit == "fits", found, shown, witnessed, level)
        kinds.add(made.kind)
        weak = weaknesses(found, shown, witnessed, level)
        assert made.weaknesses == weak
        hit = found.near or found.exact or any(s.same or s.explains for s in shown)
        assert (made.kind == SUPPORTED) == (fit == "does-not-fit" and not hit and not weak)
        assert (made.kind in (CONSISTENT, EDITED)) <= bool(hit)
        assert (made.use is None) == (made.kind not in (CONSISTENT, EDITED))
        assert made.kind != CONSISTENT or any(s.entry == made.use and not s.problem for s in shown)
    assert len(kinds) == 6  # all but the one that is tested above
