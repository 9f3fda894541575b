"""Architecture cards: what they become, that schema, tables and parser agree, and what names the
function.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import jsonschema
import pytest
from card_examples import EXAMPLE, PAGE, SCHEMA, changed, row
from hypothesis import given, settings
from hypothesis import strategies as st

from jattr.errors import CardError
from jattr.generators import card as card_module
from jattr.generators.card import (
    OPTIONS,
    Layer,
    card_to_json,
    function_fields,
    layer_shapes,
    parse_card,
    read_card,
    weight_slots,
)
from jattr.generators.card_shapes import RULES, TENSOR_FIELDS

VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CONTRADICTION = re.compile(
    "must be below the |control characters|not a finite|64 bits|half a character"
)
REFERENCE = os.environ.get("JATTR_REFERENCE")
REFERENCE_CARDS = sorted(Path(REFERENCE, "weights").glob("*.card.json")) if REFERENCE else []
SETTINGS = settings(deadline=None, max_examples=150, database=None, derandomize=True)


# The tables agree with each other.


def test_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("op", OPTIONS)
def test_schema_has_the_fields_of_each_operation(op):
    branches = SCHEMA["$defs"]["layer"]["allOf"]
    mine = [
        b
        for b in branches
        if op in (lambda p: p.get("enum", [p.get("const")]))(b["if"]["properties"]["op"])
    ]
    (branch,) = mine
    definition = SCHEMA["$defs"][branch["then"]["$ref"].rpartition("/")[2]]
    assert set(definition["properties"]) == {"op", *OPTIONS[op]}
    assert set(definition.get("required", [])) == set(OPTIONS[op])
    assert definition["additionalProperties"] is False


def test_every_table_lists_the_same_operations():
    ops = set(OPTIONS)
    assert set(SCHEMA["$defs"]["layer"]["properties"]["op"]["enum"]) == ops == set(RULES)
    assert {op for op in ops if "key" in OPTIONS[op]} == set(TENSOR_FIELDS) & ops
    assert set().union(*OPTIONS.values()) == set(card_module.CONVERSIONS)
    options = {field.name for field in dataclasses.fields(Layer)} - {"op", "index"}
    assert options == set(card_module.CONVERSIONS)


@pytest.mark.parametrize("name", [*SCHEMA["properties"], *OPTIONS, *TENSOR_FIELDS])
def test_page_explains(name):
    assert f"| `{name}`" in PAGE


# What a card becomes.


def test_example_of_the_page():
    card = parse_card(EXAMPLE)
    assert (card.name, card.kind, card.image_shape, card.value_range) == (
        "digits",
        "layered",
        (1, 28, 28),
        (-1.0, 1.0),
    )
    assert (card.latent.dim, card.latent.distribution, card.conditioning) == (64, "normal", None)
    assert (card.state_dict_key, card.ignore, card.weights) == ("netG", (), "digits.pt")
    assert (card.rounding, card.domain, card.note) == ("truncate", "handwritten digits", "")
    assert json.loads(card.source) == EXAMPLE["source"]
    assert [layer.index for layer in card.layers] == list(range(9))
    assert card.layers[4] == Layer(
        "conv_transpose", 4, key="net.2", stride=2, padding=1, output_padding=0
    )
    assert card.layers[1].shape == (128, 7, 7)
    assert card.layers[5].slope == 0.2


def test_cards_are_hashable_and_round_trip():
    card = parse_card(EXAMPLE)
    assert card_to_json(card) == EXAMPLE
    assert len({card, parse_card(card_to_json(card))}) == 1


def test_absent_and_null_are_the_same():
    optional = [
        "conditioning",
        "state_dict_key",
        "ignore",
        "weights",
        "rounding",
        "source",
        "domain",
        "note",
    ]
    bare = {name: value for name, value in EXAMPLE.items() if name not in optional}
    null = bare | {name: None for name in optional if name != "ignore"}
    assert parse_card(bare) == parse_card(null)
    added = set(card_to_json(parse_card(bare))) - set(bare)
    assert added == {"conditioning", "state_dict_key", "ignore"}


def test_whole_numbers_may_have_a_point():
    card = parse_card(
        changed(["layers", 4, "stride"], 2.0, changed(["image_shape"], [1.0, 28.0, 28]))
    )
    assert card == parse_card(EXAMPLE)
    assert type(card.layers[4].stride) is type(card.image_shape[0]) is int


def test_onehot_concat_takes_a_null_key():
    label = {"type": "onehot_concat", "key": None, "classes": 3}
    assert card_to_json(parse_card(changed(["conditioning"], label)))["conditioning"] == {
        "type": "onehot_concat",
        "classes": 3,
    }


def test_tuples_and_frozen_mappings_are_json_too():
    assert parse_card(types.MappingProxyType(EXAMPLE | {"image_shape": (1, 28, 28)})) == parse_card(
        EXAMPLE
    )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(
        [
            0,
            1,
            2,
            -1,
            1.0,
            2.5,
            1e300,
            70_000,
            float("nan"),
            "",
            "a",
            "relu",
            "conv",
            "normal",
            "../a",
            "\n",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["op", "key", "x", "dim"]), inner)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """Every path in a JSON value, the root aside."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for name, item in items:
        yield [*path, name]
        yield from places(item, (*path, name))


LABELLED = changed(
    ["conditioning"], {"type": "onehot_linear_concat", "key": "label", "classes": 10}
)
PLACES = [
    *places(LABELLED),
    *([*p, "extra"] for p in places(LABELLED) if len(p) == 2 and p[0] == "layers"),
]


@pytest.mark.slow
@SETTINGS
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.just(...) | JSON), min_size=1, max_size=2))
def test_parser_and_schema_agree_about_damaged_cards(changes):
    data = LABELLED
    for path, value in changes:
        try:
            data = changed(path, value, data)
        # the first change removed the place of the second
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    legal = VALIDATOR.is_valid(data)
    card, words = outcome(data)
    if card is None:
        assert not legal or CONTRADICTION.search(words), words
        assert words.replace("\n", "").isprintable()
    else:
        assert legal
        assert parse_card(card_to_json(card)) == card


def outcome(data):
    """The card and no words, or no card and the words of the error; any other error is raised."""
    try:
        return parse_card(data), ""
    except CardError as error:
        return None, str(error)


def layers_of(op):
    whole = {"stride": (1, 9), "padding": (0, 9), "scale": (1, 64), "output_padding": (0, 0)}
    options = {name: st.integers(*ends) for name, ends in whole.items()}
    options |= {name: st.floats(0, 1) | st.integers(0, 1) for name in ("eps", "slope", "p")}
    options |= {
        "padding_mode": st.sampled_from(["zeros", "replicate"]),
        "key": st.sampled_from(["a", "b.0", "é"]),
    }
    options |= {"shape": st.lists(st.integers(1, 4096), min_size=3, max_size=3)}
    return st.fixed_dictionaries(
        {"op": st.just(op)} | {name: options[name] for name in OPTIONS[op]}
    )


@SETTINGS
@given(st.lists(st.one_of([layers_of(op) for op in OPTIONS]), min_size=1, max_size=6))
def test_legal_layers_round_trip_through_text(layers):
    data = row(*layers)
    card = parse_card(data)
    again = parse_card(json.loads(json.dumps(card_to_json(card))))
    assert again == card
    assert hash(again) == hash(card)
    assert card_to_json(card)["layers"] == layers
    assert json.dumps(function_fields(again)) == json.dumps(function_fields(card))


# What names the function.

FUNCTION = {"image_shape", "value_range", "latent", "conditioning", "layers"}
OTHER_VALUES = {  # there is one version and one kind
    "name": "b",
    "image_shape": [1, 28, 27],
    "value_range": [0, 1],
    "latent": {"dim": 63, "distribution": "normal"},
    "conditioning": {"type": "onehot_concat", "classes": 2},
    "layers": EXAMPLE["layers"][:-1],
    "state_dict_key": None,
    "ignore": ["a"],
    "weights": "b",
    "rounding": "round",
    "source": None,
    "domain": None,
    "note": "b",
}
OTHER_OPTIONS = {
    "key": "other",
    "stride": 3,
    "padding": 5,
    "output_padding": 1,
    "padding_mode": "replicate",
    "eps": 1e-6,
    "slope": 0.1,
    "scale": 3,
    "shape": [7, 128, 7],
}


@pytest.mark.parametrize("field", sorted(set(SCHEMA["properties"]) - {"card_version", "kind"}))
def test_only_fields_of_the_function_are_in_function_fields(field):
    before, after = parse_card(EXAMPLE), parse_card(changed([field], OTHER_VALUES[field]))
    assert before != after
    assert (function_fields(before) != function_fields(after)) == (field in FUNCTION)


@pytest.mark.parametrize(
    ("index", "option"),
    [(i, o) for i, layer in enumerate(EXAMPLE["layers"]) for o in layer if o != "op"],
)
def test_every_option_but_the_key_is_of_the_function(index, option):
    after = parse_card(changed(["layers", index, option], OTHER_OPTIONS[option]))
    assert (function_fields(after) == function_fields(parse_card(EXAMPLE))) == (option == "key")


def test_order_counts_and_dropout_and_distribution_do_not():
    same = function_fields(parse_card(EXAMPLE))
    layers = EXAMPLE["layers"]
    assert (
        function_fields(
            parse_card(changed(["layers"], [*layers[:3], {"op": "dropout", "p": 0.5}, *layers[3:]]))
        )
        == same
    )
    assert function_fields(parse_card(changed(["latent", "distribution"], "uniform"))) == same
    assert (
        function_fields(
            parse_card(changed(["layers"], [*layers[:2], layers[3], layers[2], *layers[4:]]))
        )
        != same
    )


def test_classes_and_type_of_labels_count_and_the_key_does_not():
    def fields(**label):
        return function_fields(
            parse_card(changed(["conditioning"], LABELLED["conditioning"] | label))
        )

    assert fields() == fields(key="b")
    assert fields() != fields(classes=11)
    assert fields() != fields(type="embed_concat")


def test_equal_numbers_have_equal_texts():
    texts = {
        json.dumps(function_fields(parse_card(changed(["value_range"], ends))))
        for ends in ([0, 1], [0.0, 1.0], [-0.0, 1])
    }
    assert len(texts) == 1


# Imports, and the reference cards.


def test_import_is_light():
    code = (
        "import sys, jattr.generators.card; print({'jax', 'flax', 'numpy', 'jsonschema'} &"
        " set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )


@pytest.fixture(params=[path.name for path in REFERENCE_CARDS] or [None])
def reference(request):
    return Path(REFERENCE, "weights", request.param)


def test_reference_card_round_trips(reference):
    card = read_card(reference)
    assert card_to_json(card) == json.loads(reference.read_text(encoding="utf-8"))
    assert parse_card(card_to_json(card)) == card
    assert VALIDATOR.is_valid(card_to_json(card))


def test_reference_card_fits_its_weights(reference):
    from jattr.converters.checkpoint_tree import find_state_dict
    from jattr.converters.torch_file import read_checkpoint

    card = read_card(reference)
    state = find_state_dict(read_checkpoint(reference.parent / card.weights), card.state_dict_key)
    shapes = layer_shapes(card, {key: array.shape for key, array in state.items()})
    assert shapes[-1].output == card.image_shape
    used = {slot.source_key for slot in weight_slots(card)}
    rest = [key for key in state if key not in used and not key.endswith(".num_batches_tracked")]
    assert [key for key in rest if not key.startswith(card.ignore or ("\0",))] == []
