"""The kinds of generators: how a card is read and stored tensors become a pure function."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jattr.errors import CardError, show, suggest
from jattr.generators import layered, stored
from jattr.generators.base import PRIORS, FinalLayer, Generator, Noise, Route, SampleFn
from jattr.generators.card import Card, card_to_json, function_fields, parse_card
from jattr.generators.card_fields import CardBase
from jattr.generators.digest import flatten
from jattr.generators.family import FAMILIES, check_tensors, net_state, plain_apply, plain_encoder
from jattr.generators.family_card import (
    FamilyCard,
    family_card_to_json,
    family_function_fields,
    parse_family_card,
)
from jattr.generators.final_layers import final_of
from jattr.generators.forward import ApplyFn
from jattr.generators.settings import SPACES, Settings
from jattr.generators.stored import Params
from jattr.generators.styled import styled_apply, styled_router, styled_state, styled_view
from jattr.typing import JsonObject, PyTree


class Built(NamedTuple):
    """What a card and its stored tensors give: fields of a `Generator`."""

    apply: ApplyFn
    state: PyTree
    latent_shape: tuple[int, ...]
    sample: SampleFn
    prior: str
    num_classes: int
    spaces: tuple[str, ...] = ("z",)
    settings: Settings | None = None
    encoder: ApplyFn | None = None
    viewer: Callable[..., Generator] | None = None
    router: Callable[[Generator], Route] | None = None
    final: Callable[[Generator], FinalLayer] | None = None


class Kind(NamedTuple):
    """What loading and saving need to know about one kind of generator."""

    parse: Callable[[JsonObject], CardBase]  # raises CardError
    to_json: Callable[[Any], JsonObject]
    function_fields: Callable[[Any], JsonObject]  # of the digest
    # (card, shapes by path); GeneratorError
    check_params: Callable[[PyTree, Mapping[str, tuple[int, ...]]], None]
    build: Callable[[PyTree, Params], Built]  # (card, stored tensors, nested)


def parse_any_card(data: JsonObject) -> CardBase:
    """Return the card of JSON in Python's values, of any kind.

    Raises:
      CardError: the kind is unknown, or what its parser finds.
    """
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in GENERATORS:
        raise CardError(f"has the kind {show(kind)}; {suggest(str(kind), list(GENERATORS))}")
    return GENERATORS[kind].parse(data)


def _build_layered(card: Card, params: Params) -> Built:
    apply, state, final = layered.build(card, params)
    shape = (card.latent.dim,)
    classes = 0 if card.conditioning is None else card.conditioning.classes
    distribution = card.latent.distribution
    return Built(
        apply, state, shape, PRIORS[distribution](shape), distribution, classes, final=final
    )


def _check_family(card: FamilyCard, shapes: Mapping[str, tuple[int, ...]]) -> None:
    check_tensors(card.kind, card.name, card.architecture, shapes)


def _build_family(card: FamilyCard, params: Params) -> Built:
    kind, arch = card.kind, card.architecture
    net = net_state(kind, arch, flatten(params))
    normal = PRIORS["normal"](arch.latent_shape)
    if card.settings is None:
        scale, shift = getattr(arch, "latent_scale", 1.0), getattr(arch, "latent_shift", 0.0)
        scaled = (
            normal
            if (scale, shift) == (1.0, 0.0)
            else lambda key, n: shift + scale * normal(key, n)
        )
        built = Built(
            plain_apply(kind, arch), net, arch.latent_shape, scaled, "normal", arch.num_classes
        )
        return built._replace(encoder=plain_encoder(kind, arch), final=final_of(kind, arch))

    def viewer(
        gen: Generator, space: str, psi: float | None, cutoff: int | None, noise: Noise
    ) -> Generator:
        return styled_view(kind, arch, gen, space, psi, cutoff, noise)

    return Built(
        styled_apply(kind, arch, "z", False),
        styled_state(net, arch, card.settings),
        arch.latent_shape,
        normal,
        "normal",
        arch.num_classes,
        SPACES,
        card.settings,
        viewer=viewer,
        router=styled_router(kind, arch),
        final=final_of(kind, arch),
    )


_FAMILY = Kind(
    parse_family_card, family_card_to_json, family_function_fields, _check_family, _build_family
)
GENERATORS: dict[str, Kind] = {
    "layered": Kind(parse_card, card_to_json, function_fields, stored.check_params, _build_layered),
    **dict.fromkeys(FAMILIES, _FAMILY),
}
