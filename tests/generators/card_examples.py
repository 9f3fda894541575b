"""What the tests of cards share: the example of docs/architecture_card.md, and how they change
and parse it.
"""

import copy
import json
import re
from pathlib import Path

import pytest

from jattr.errors import CardError
from jattr.generators import card as card_module
from jattr.generators.card import layer_shapes, parse_card

FOLDER = Path(card_module.__file__).parent
SCHEMA = json.loads((FOLDER / "card_v1.schema.json").read_text(encoding="utf-8"))
PAGE = (FOLDER.parents[1] / "docs" / "architecture_card.md").read_text(encoding="utf-8")
EXAMPLE = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
TENSORS = {  # of the example
    "fc.weight": (6272, 64),
    "fc.bias": (6272,),
    "net.0.weight": (128,),
    "net.0.bias": (128,),
    "net.0.running_mean": (128,),
    "net.0.running_var": (128,),
    "net.2.weight": (128, 32, 4, 4),
    "net.2.bias": (32,),
    "net.5.weight": (1, 32, 3, 3),
    "net.5.bias": (1,),
}


def changed(path, value, data=EXAMPLE):
    """A copy of the card with one value replaced or added (path: names and indices), or removed
    (value: ...).
    """
    data = copy.deepcopy(data)
    *parents, last = path
    part = data
    for parent in parents:
        part = part[parent]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return data


def message(data):
    with pytest.raises(CardError) as caught:
        parse_card(data)
    return str(caught.value)


def misfit(data, tensors):
    with pytest.raises(CardError) as caught:
        layer_shapes(parse_card(data), tensors)
    return str(caught.value)


def row(*layers, image_shape=(1, 2, 2), dim=4, conditioning=None):
    """A card of the given layers."""
    return {
        "card_version": 1,
        "kind": "layered",
        "name": "row",
        "image_shape": list(image_shape),
        "value_range": [-1, 1],
        "latent": {"dim": dim, "distribution": "normal"},
        "conditioning": conditioning,
        "layers": list(layers),
    }
