"""Cards of families: they say themselves again, and every mistake in them is named."""

import pytest

from jattr.errors import CardError
from jattr.generators.card import FAMILY_KINDS, parse_card
from jattr.generators.family import FAMILIES
from jattr.generators.family_card import family_card_to_json, family_schema
from jattr.generators.registry import parse_any_card

CARD = {
    "card_version": 1,
    "kind": "stylegan2",
    "name": "faces",
    "image_shape": [3, 16, 16],
    "architecture": {
        "channels": [6, 5, 4],
        "z_dim": 7,
        "mapping_widths": [9, 8],
        "num_classes": 0,
        "embedding": "dense",
        "form": "skip",
        "image_channels": 3,
        "equalised": False,
        "clamp": None,
        "taps": [1.0, 3.0, 3.0, 1.0],
    },
    "settings": {"psi": 0.7, "cutoff": None, "noise": "const"},
    "source": {"layout": "stylegan2-nvlabs"},
    "rounding": "round",
}


def changed(**parts):
    data = {name: dict(value) if isinstance(value, dict) else value for name, value in CARD.items()}
    for name, value in parts.items():
        where = next((part for part in ("architecture", "settings") if name in data[part]), None)
        (data[where] if where else data)[name] = value
    return data


def test_every_family_is_known_by_name():
    assert set(FAMILY_KINDS) == set(FAMILIES)


def test_a_card_says_itself_again():
    assert family_card_to_json(parse_any_card(CARD)) == CARD


def test_what_is_left_away_has_its_default():
    short = {name: CARD[name] for name in ("card_version", "kind", "name")}
    short["architecture"] = {
        name: CARD["architecture"][name] for name in ("channels", "z_dim", "mapping_widths")
    }
    card = parse_any_card(short)
    assert card.image_shape == (3, 16, 16)
    assert card.settings.psi == 1.0
    assert parse_any_card(changed(z_dim=7.0)).architecture.z_dim == 7  # JSON has one kind of number


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "stylegan9"}, 'has the kind "stylegan9"; did you mean "stylegan'),
        ({"z_dim": "seven"}, 'z_dim is "seven"; it must be a whole number'),
        ({"channels": [6, 5.5]}, "channels[1] is 5.5; it must be a whole number"),
        ({"clamp": "no"}, "it must be a number or null"),
        ({"noise": "loud"}, "it must be one of const, none"),
        ({"cutoff": 7}, "settings: cutoff is 7"),
        ({"form": "round"}, "architecture: form is 'round'"),
        ({"image_shape": [3, 32, 32]}, "this architecture's is [3, 16, 16]"),
        ({"colour": "red"}, '"colour" is not a field here'),
        ({"name": "../up"}, "name is"),
    ],
)
def test_mistakes_are_named(change, words):
    with pytest.raises(CardError) as caught:
        parse_any_card(changed(**change))
    assert words in str(caught.value)


def test_a_family_needs_no_card_to_be_converted():
    with pytest.raises(CardError, match="needs no card: convert its weights file without --card"):
        parse_card(CARD)


@pytest.mark.parametrize("kind", FAMILIES)
def test_schemas_are_schemas(kind):
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(family_schema(kind))
