"""Other settings: images that nobody seems to have made, tried as a style-based candidate's under
settings other than those that were searched.

Random noise maps, none, styles mixed from several latents, another psi or cutoff are switches of
the program that runs a style-based generator: what they make is the candidate's, and may be far
from all that it makes otherwise. One search covers them all: w+ with its noise maps searched, too,
holds every image that the weights make under any of them. What that leaves far away, by the measure
of own images so made, needs nothing else. What it brings near is not proven: so many free numbers
come near to much. It is tried again in narrow settings, where a certificate decides; without one
the image is undecided, and the reason names the settings.

w+: Abdal, Qin, Wonka, Image2StyleGAN, arXiv 1904.03189; mixing of styles: Karras, Laine, Aila,
arXiv 1812.04948, section 3.1.
"""

import dataclasses
import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from jattr.alterations.files import AlteredImages
from jattr.attribution.evidence import best_of, evidence_of, residuals_of
from jattr.attribution.pilot import PilotStudies, PilotStudy, candidate_key
from jattr.attribution.racing import Racing, race
from jattr.attribution.result import Attribution, Column, Near, with_column
from jattr.decision.verdict import Caveat, DecisionConfig, Evidence
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.inversion.multistart import Inverter, run_rounds, searches_of
from jattr.inversion.observation.make import make_observation
from jattr.inversion.scheduler import Scheduler
from jattr.inversion.settings import MultiStart, Polish, check_number
from jattr.inversion.two_stage import make_inverter
from jattr.inversion.warm_start import PriorSamples, Ridge, Starts
from jattr.solvers import METHODS

Images = AlteredImages | Sequence[np.ndarray]  # altered; or [n, H, W, C] for each candidate
NAMED = ("space", "psi", "cutoff", "noise")  # settings of a search that somebody chose


@dataclass(frozen=True, kw_only=True)
class OtherSettings:
    """How other settings are tried."""

    # of the searches in w+ with noise maps: most steps of each, the later ones of what the one
    # before leaves near
    steps: tuple[int, ...] = (60, 200)
    # an image that a search leaves so many times farther than the worst of own images is far
    far: tuple[float, ...] = (15.0, 30.0)
    own_images: int = 16  # by which that is measured, of styles mixed and noise drawn at random
    # numbers of a latent: beyond, nothing is tried, and the verdict says so
    max_latent: int = 1 << 20
    restarts: int = 4  # of an image in each narrow setting
    # settings that somebody named are tried alone; evidence tries the others all the same
    beside_named: bool = False

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        for name in ("steps", "far"):
            if not isinstance(getattr(self, name), tuple) or len(self.steps) != len(self.far):
                raise InputError(
                    f"other_settings.{name} is {getattr(self, name)!r}; steps and far are tuples of"
                    " one length, a number for each search"
                )
        for steps, far in zip(self.steps, self.far, strict=True):
            check_number("other_settings.steps", steps, 1, 1_000_000)
            check_number("other_settings.far", far, 1, 1e6, whole=False)
        check_number("other_settings.own_images", self.own_images, 1, 10_000)
        check_number("other_settings.max_latent", self.max_latent, 0, 1 << 40)
        check_number("other_settings.restarts", self.restarts, 1, 100_000)


@dataclass(frozen=True)
class _Run:
    """What all searches of a trial have in common."""

    images: Images
    search: MultiStart
    key: jax.Array
    policy: DecisionConfig
    racing: Racing
    store: MutableMapping[str, PilotStudy]
    settings: OtherSettings
    scheduler: Scheduler = field(default_factory=Scheduler)


def open_images(attribution: Attribution, policy: DecisionConfig) -> list[int]:
    """Return the images that no candidate has come near to: "none", or undecided and far."""
    nearest = attribution.residual.min(1)
    return [
        i
        for i, verdict in enumerate(attribution.verdicts)
        if verdict.kind == "none"
        or (verdict.kind == "undecided" and policy.thresholds and nearest[i] > policy.none_above)
    ]


def named_settings(search: MultiStart) -> str:
    """Return the settings of a search that somebody chose, as flags; "": none of them."""
    return named_flags({name: getattr(search, name) for name in NAMED})


def named_flags(settings: Mapping[str, object]) -> str:
    """Return settings by name as flags, without those that are None.

    >>> named_flags({"space": "w", "psi": None, "noise": "none"})
    '--space w --noise none'
    """
    return " ".join(f"--{name} {value}" for name, value in settings.items() if value is not None)


def try_other_settings(
    attribution: Attribution,
    images: Images,
    *,
    search: MultiStart,
    key: jax.Array,
    policy: DecisionConfig,
    racing: Racing,
    store: MutableMapping[str, PilotStudy],
    settings: OtherSettings,
) -> tuple[Attribution, list[int]]:
    """Try other settings of style-based candidates on images that nobody seems to have made.

    Args:
      attribution: of all images, from the settings that were searched.
      images: as the candidates' searches compare with them.
      search: settings of the inversion.
      key: PRNG key.
      policy: of the decision.
      racing: of the searches in narrow settings.
      store: of pilot studies.
      settings: how other settings are tried.

    Returns:
      The attribution with a column for each narrow setting that has a certificate, with what came
      near and what was tried; its verdicts are those from before. And the images that were tried.
    """
    open_ = open_images(attribution, policy)
    near: dict[int, list[Near]] = {i: [] for i in open_}
    tried: dict[int, list[str]] = {i: [] for i in open_}
    plain = _of_pixels(search, settings.restarts)
    run = _Run(images, plain, key, policy, racing, store, settings)
    named: set[int] = set()
    for c, views in _families(attribution.candidates).items() if open_ else ():
        gen = attribution.candidates[c]
        wide = widest_view(gen)
        if math.prod(wide.latent_shape) > settings.max_latent:
            for i in open_:
                near[i].append(Near(gen.name, None))
            continue
        # 1. Searches in the widest view, measured by own images; what stays near is searched on.
        latents: dict[int, np.ndarray] = dict.fromkeys(open_, np.zeros(0))
        losses: dict[int, float] = {}
        for number in range(len(settings.steps)):
            images_left = list(latents)
            if not images_left:
                break
            inverter, far = _search_widest(run, c, gen, wide, images_left, number)
            for row, i in enumerate(images_left):
                losses[i] = inverter.best_loss(row)
                tried[i].append(_widest_search_text(gen, losses[i], far, settings.steps[number]))
            rows = {i: row for row, i in enumerate(images_left) if not losses[i] > far}
            latents = {i: inverter.results.z[row, 0] for i, row in rows.items()}
        # 2. What it brings near is tried where a certificate can name the candidate.
        # a certificate speaks of pixels
        narrow_ones = narrow_views(gen, views) if search.distance is None else []
        for narrow in narrow_ones:
            left = [i for i in latents if i not in named]
            if not left:
                break
            column = _search_narrow(run, c, gen, narrow, {i: latents[i] for i in left})
            for i in left:
                tried[i].append(f"{narrow.name}: {settings.restarts} restarts")
            holds = [i for i, e in zip(left, column.evidence, strict=True) if _holds(e)]
            if holds:
                attribution = with_column(attribution, _of_images(column, holds))
                named.update(holds)
        for i in latents:
            near[i].append(Near(gen.name, losses[i] if np.isfinite(losses[i]) else None))
    count = range(len(attribution.verdicts))
    attribution = dataclasses.replace(
        attribution,
        tried=tuple((*attribution.tried[i], *tried.get(i, ())) for i in count),
        near=tuple(() if i in named else tuple(near.get(i, ())) for i in count),
    )
    return attribution, open_


def _of_pixels(search: MultiStart, restarts: int) -> MultiStart:
    """Return the settings of searches by pixels, whatever the distance of the first ones was."""
    if search.distance is None:
        return dataclasses.replace(search, restarts=restarts)
    return dataclasses.replace(
        search, restarts=restarts, distance=None, observing=MultiStart().observing
    )


# --- Views -----------------------------------------------------------------------------------


def has_noise_maps(gen: Generator) -> bool:
    """Return whether a style-based generator has noise maps."""
    return bool(jax.tree.leaves(gen.state["noise"]))


def widest_view(gen: Generator) -> Generator:
    """Return the view that holds all that a style-based generator makes, under any settings.

    It is w+, with the noise maps searched. Its samples mix styles: those of each layer are of a
    latent of its own, without truncation; noise is normal.
    """
    maps = has_noise_maps(gen)
    plain = gen.view(psi=1.0, noise="none" if maps else None)
    wide, styles = plain.view("w+", noise="search" if maps else None), plain.view("w")
    shape = plain.view("w+").latent_shape
    count = math.prod(wide.latent_shape) - math.prod(shape)

    def sample(key: jax.Array, n: int) -> jax.Array:
        of_styles, of_noise = jax.random.split(key)
        ws = styles.sample(of_styles, n * shape[0]).reshape(n, *shape)
        if not count:
            return ws
        noise = jax.random.normal(of_noise, (n, count))
        return jnp.concatenate([ws.reshape(n, -1), noise], axis=1)

    return dataclasses.replace(wide, sample=sample, prior="mixed styles")


def _families(candidates: Sequence[Generator]) -> dict[int, list[Generator]]:
    """Return the first column of each style-based model, with all its views among the candidates.

    A model that was searched in its widest view has no other settings.
    """
    families: dict[str, list[int]] = {}
    for c, gen in enumerate(candidates):
        if gen.settings is not None and gen.viewer is not None and "w+" in gen.spaces:
            families.setdefault(gen.digest, []).append(c)
    first = {columns[0]: [candidates[c] for c in columns] for columns in families.values()}
    return {c: views for c, views in first.items() if not any(map(_is_widest, views))}


def _is_widest(view: Generator) -> bool:
    searched = view.settings is not None and view.settings.noise == "search"
    return view.space == "w+" and (searched or not has_noise_maps(view))


def narrow_views(gen: Generator, views: Sequence[Generator]) -> list[Generator]:
    """Return the views of a model in which a certificate can prove, the narrowest first.

    w holds what z makes under any psi, w+ what cutoffs and mixed styles make besides. Each is tried
    with the stored noise maps and with none, and under a name of its own.
    """
    had = {(view.space, None if view.settings is None else view.settings.noise) for view in views}
    base = gen.view(psi=1.0) if gen.space == "z" else gen
    named = []
    for space in ("w", "w+"):
        for noise in ("const", "none") if has_noise_maps(gen) else (None,):
            view = base.view(space, noise=noise)
            mode = None if view.settings is None else view.settings.noise
            if view.proves and (space, mode) not in had:
                named.append(dataclasses.replace(view, name=view_name(gen.name, view)))
    return named


def view_name(name: str, view: Generator) -> str:
    """Return the name of a candidate's view, as a candidate of its own."""
    noise = (
        ""
        if view.settings is None or not has_noise_maps(view)
        else f", noise {view.settings.noise}"
    )
    return f"{name} in {view.space}{noise}"


# --- Searches --------------------------------------------------------------------------------


def widest_search(search: MultiStart, steps: int) -> MultiStart:
    """Return the settings of a search in the widest view: one restart by gradients."""
    return MultiStart(
        solver=METHODS["lbfgs"],
        steps=steps,
        restarts=1,
        polish=Polish(steps=0),
        precision=search.precision,
        lanes=search.lanes,
        observing=search.observing,
    )


def _search_widest(
    run: _Run, column: int, gen: Generator, wide: Generator, images: Sequence[int], number: int
) -> tuple[Inverter, float]:
    """Return the searches of images in the widest view, and the loss above which one is far."""
    search = widest_search(run.search, run.settings.steps[number])
    observation = make_observation(wide, _part(run.images, column, images), search)
    key = candidate_key(run.key, gen)
    inverter = make_inverter(observation, search, key, scheduler=run.scheduler)
    run_rounds(inverter)
    studies = PilotStudies(search, run.key, run.store, run.settings.own_images)
    far = run.settings.far[number] * studies.of(inverter).miss
    # One own image whose search got stuck makes the measure large. After the last steps what is
    # far by the thresholds of the decision is so here, too.
    last = number == len(run.settings.steps) - 1
    return inverter, min(far, run.policy.none_above) if last else far


@dataclass(frozen=True, eq=False)
class _After:
    """Starts of which the first of each image is given, the others are guesses."""

    latents: np.ndarray  # [images, d]

    def __call__(
        self,
        gen: Generator,
        images: np.ndarray,
        *,
        num_restarts: int,
        key: jax.Array,
        pool: PriorSamples,
    ) -> Starts:
        """Return the starts of every image; see `WarmStart`."""
        starts = Ridge()(gen, images, num_restarts=num_restarts, key=key, pool=pool)
        z = np.array(starts.z)
        z[:, 0] = self.latents
        return Starts(z, starts.label)


def _search_narrow(
    run: _Run, column: int, gen: Generator, view: Generator, wide: Mapping[int, np.ndarray]
) -> Column:
    """Return the searches of images in a narrow view; they begin where those in the widest ended.

    Args:
      run: the trial.
      column: of the candidate.
      gen: the candidate.
      view: the view.
      wide: image -> its latent [d] in the widest view.
    """
    images = list(wide)
    shape = gen.view("w+", noise="none" if has_noise_maps(gen) else None).latent_shape
    ws = np.stack([z[: math.prod(shape)] for z in wide.values()]).reshape(-1, *shape)
    latents = ws.mean(1) if view.space == "w" else ws.reshape(len(ws), -1)
    search = dataclasses.replace(run.search, warm_start=_After(latents))
    observation = make_observation(view, _part(run.images, column, images), search)
    key = candidate_key(run.key, gen)
    inverter = make_inverter(observation, search, key, scheduler=run.scheduler)
    studies = PilotStudies(search, run.key, {}, run.racing.pilot_images)
    race([inverter], search, run.policy, studies, None, run.racing)
    residuals = residuals_of(inverter)
    evidence = evidence_of([view], [inverter], {inverter: residuals}, studies, run.policy)
    best = best_of(inverter)
    return Column(
        view,
        tuple(images),
        tuple(row[0] for row in evidence),
        residuals,
        best.latents,
        best.labels,
        best.support,
        tuple(searches_of(inverter, row) for row in range(len(images))),
        inverter.observation.noise,
    )


def _part(images: Images, column: int, chosen: Sequence[int]) -> AlteredImages | np.ndarray:
    """Return some of the images as a candidate's searches compare with them."""
    rows = list(chosen)
    if isinstance(images, AlteredImages):
        quantised = None if images.quantised is None else images.quantised[rows]
        return AlteredImages(images.pixels[rows], images.chain, quantised)
    return np.asarray(images[column])[rows]


def _of_images(column: Column, images: Sequence[int]) -> Column:
    """Return the part of a column that is of these images."""
    rows = [column.images.index(i) for i in images]
    return column._replace(
        images=tuple(images),
        evidence=tuple(column.evidence[row] for row in rows),
        residual=column.residual[rows],
        latents=column.latents[rows],
        labels=column.labels[rows],
        support=column.support[rows],
        searches=tuple(column.searches[row] for row in rows),
    )


def _holds(evidence: Evidence) -> bool:
    return evidence.certificate is not None and evidence.certificate.holds


# --- Words -----------------------------------------------------------------------------------


def view_flags(view: Generator) -> str:
    """Return the options under which a view of a candidate is searched."""
    noise = "" if view.settings is None else f" --noise {view.settings.noise}"
    return f"--space {view.space}{noise if has_noise_maps(view) else ''}"


def flags_of(gen: Generator) -> str:
    """Return the options that name other settings of a style-based generator."""
    noise = ", --noise search, --noise none" if has_noise_maps(gen) else ""
    return f"--space w+{noise}, --psi"


def _what(gen: Generator) -> str:
    return "w+ with its noise maps searched" if has_noise_maps(gen) else "w+"


def _widest_search_text(gen: Generator, loss: float, far: float, steps: int) -> str:
    return (
        f"{gen.name} in {_what(gen)}: 1 restart of {steps} steps leaves {loss:.1e};"
        f" above {far:.1e} it is far"
    )


def with_other_settings(
    caveat: Caveat, near: Sequence[Near], candidates: Sequence[Generator], named: str
) -> Caveat:
    """Return a caveat that says besides what is known of other settings.

    Args:
      caveat: what the image's file says.
      near: the candidates that come near under other settings.
      candidates: all of them.
      named: the settings that somebody named, as flags; "": none.
    """
    by_name = {gen.name: gen for gen in candidates}
    groups: dict[tuple[str, str, bool], list[Near]] = {}
    for each in sorted(near, key=lambda each: each.residual or 0.0):
        gen = by_name[each.candidate]
        groups.setdefault((_what(gen), flags_of(gen), each.residual is not None), []).append(each)
    texts = [_near_text(group, *of_group) for of_group, group in groups.items()]
    families = [candidates[c].name for c in _families(candidates)]
    alone = ""
    if named and families:
        alone = (
            f"under the settings that were named ({named}) alone: other settings of"
            f" {', '.join(families)} were not tried"
        )
    return caveat._replace(elsewhere="; ".join(texts), alone=alone)


def _near_text(near: Sequence[Near], what: str, flags: str, tried: bool) -> str:
    """Return why candidates may have made an image, and which options would settle it."""
    names = ", ".join(
        each.candidate if each.residual is None else f"{each.candidate} ({each.residual:.1e})"
        for each in near
    )
    if tried:
        return f"other settings ({what}) bring near it: {names}; name them to settle it: {flags}"
    return f"other settings ({what}) are too large to be tried of: {names}; name them: {flags}"


def check_other_settings(settings: object) -> None:
    """Check what says how other settings are tried.

    Raises:
      InputError: it does not.
    """
    if settings is not None and not isinstance(settings, OtherSettings):
        raise InputError(
            f"other_settings is {settings!r}; it is a jattr.OtherSettings(...), or None: they are"
            " not tried"
        )
