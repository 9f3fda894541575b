"""Which cards and files are refused, and with which words."""

import json
import os
import re

import pytest
from card_examples import EXAMPLE, PAGE, TENSORS, changed, message, misfit, row

from jattr.errors import CardError
from jattr.generators.card import read_card

BAD = {
    "unknown field": (["licence"], "MIT", '"licence" is not a field here; legal: card_version'),
    "misspelt"
    " field": (["image_shap"], [1], '"image_shap" is not a field here; did you mean'
                                    ' "image_shape"?'),
    "version": (["card_version"], 2, "card_version is 2; it must be 1"),
    "version true": (["card_version"], True, "card_version is true; it must be 1"),
    "kind": (["kind"], "stylegan9", 'kind "stylegan9" is unknown; did you mean "stylegan"?'),
    "kind number": (["kind"], 3, 'kind is 3; it must be "layered"'),
    "no name": (["name"], ..., '"name" is missing'),
    "name with folder": (["name"], "../x", 'name is "../x"; it must be a text of 1 to 200'),
    "name with"
    " escape": (["name"], "a\x1b[2J", r'name is "a\u001b[2J"; it must be without control'
                                      r' characters'),
    "long name": (["name"], "x" * 201, 'xxx...; it must be a text of 1 to 200'),
    "two numbers": (["image_shape"], [28, 28], "image_shape is [28, 28]; it must be [channels,"
                                               " height, width]"),
    "no height": (["image_shape", 1], 0, "image_shape[1] is 0; it must be a height from 1 to 4096"),
    "tall": (["image_shape", 1], 4097, "image_shape[1] is 4097; it must be a height from 1 to"
                                       " 4096"),
    "bool for"
    " int": (["image_shape", 0], True, "image_shape[0] is true; it must be a whole number of"
                                       " channels"),
    "half a pixel": (["image_shape", 2], 27.5, "image_shape[2] is 27.5; it must be a width"),
    "falling range": (["value_range"], [1, -1], "value_range is [1, -1]; the first number must be"
                                                " below the second"),
    "empty range": (["value_range"], [1, 1], "the first number must be below the second"),
    "NaN": (["value_range", 0], float("nan"), "value_range[0] is not a finite number"),
    "infinity in free"
    " form": (["source"], {"a b": [float("inf")]}, "source.'a b'[0] is not a finite number"),
    "huge range": (["value_range", 1], 1e300, "value_range[1] is 1e+300; it must be a number from"
                                              " -1e6 to 1e6"),
    "latent number": (["latent"], 64, "latent is 64; it must be an object"),
    "no distribution": (["latent", "distribution"], ..., 'latent: "distribution" is missing; it'
                                                         ' must be "normal"'),
    "distribution": (["latent", "distribution"], "gauss", 'latent: distribution is "gauss"; it'
                                                          ' must be "normal"'),
    "big latent": (["latent", "dim"], 65537, "latent: dim is 65537; it must be a whole number from"
                                             " 1 to 65536"),
    "label type": (["conditioning"], {"type": "film", "key": "a", "classes": 2}, 'type is "film";'
                                                                                 ' it must'),
    "label key": (["conditioning"], {"type": "embed_concat", "classes": 2}, 'conditioning: "key"'
                                                                            ' is missing'),
    "label extra key": (
        ["conditioning"], {"type": "onehot_concat", "key": "a", "classes": 2},
        'conditioning: key is "a"; it must be absent or null',
    ),
    "classes": (["conditioning"], {"type": "onehot_concat", "classes": 100_001}, "conditioning:"
                                                                                 " classes is"
                                                                                 " 100001;"),
    "ignore everything": (["ignore"], [""], 'ignore[0] is ""; it must be a text of 1'),
    "no layers": (["layers"], [], "layers is []; it must be a list of 1 to 1000 layers"),
    "1001 layers": (["layers"], [{"op": "relu"}] * 1001, "it must be a list of 1 to 1000 layers"),
    "layer a text": (["layers", 3], "relu", 'layer 3 is "relu"; it must be an object {"op", ...}'),
    "layer without op": (["layers", 3], {}, 'layer 3: "op" is missing'),
    "op a number": (["layers", 3], {"op": 7}, "layer 3: op is 7; it must be the name of an"
                                              " operation"),
    "op": (["layers", 3, "op"], "upsample_neerest", 'op is "upsample_neerest"; did you mean'
                                                    ' "upsample_nearest"?'),
    "option of another"
    " op": (["layers", 3, "slope"], 0.2, 'layer 3 (relu): "slope" is not a field here; legal: op'),
    "misspelt"
    " option": (["layers", 4, "strides"], 2, '(conv_transpose, key "net.2"): "strides" is not a'
                                             ' field here'),
    "stride 0": (["layers", 4, "stride"], 0, 'layer 4 (conv_transpose, key "net.2"): stride is 0;'
                                             ' it must be a whole'),
    "stride pair": (["layers", 4, "stride"], [2, 2], 'key "net.2"): stride is [2, 2]; it must be a'
                                                     ' whole number'),
    "mode": (["layers", 7, "padding_mode"], "reflect", 'padding_mode is "reflect"; it must be'
                                                       ' "zeros" or "replicate"'),
    "reshape": (["layers", 1, "shape"], [6272], "layer 1 (reshape): shape is [6272]; it must be"
                                                " [channels"),
    "negative eps": (["layers", 2, "eps"], -1e-5, "eps is -1e-05; it must be a number from 0 to 1"),
    "scale": (["layers", 6, "scale"], 65, "layer 6 (upsample_nearest): scale is 65; it must be a"
                                          " whole number"),
    "key with"
    " escape": (["layers", 0, "key"], "\x1b[2J", r'layer 0 (linear): key is "\u001b[2J"; it must'
                                                 r' be without'),
    "weights elsewhere": (["weights"], "/etc/passwd", 'weights is "/etc/passwd"; it must be null'
                                                      ' or the plain name'),
    "weights above": (["weights"], "..", 'weights is ".."; it must be null or the plain name'),
    "weights windows": (["weights"], "..\\a.pt", "it must be null or the plain name"),
    "rounding": (["rounding"], "floor", 'rounding is "floor"; it must be "round", "truncate" or'
                                        ' null'),
    "long integer": (["source"], {"a": 10**30}, "source.a is an integer of more than 64 bits"),
    "half a character": (["note"], "\ud800", "note is text with half a character"),
    "not JSON": (["source"], {"a": {1, 2}}, "source.a is a set; use what JSON has"),
    "numbered name": (["source"], {1: 2}, "source is an object with a name that is no text"),
    "many values": (["source"], {"a": [0] * 20_000}, "more than 20000 values"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_card(case):
    path, value, words = BAD[case]
    text = message(changed(path, value))
    assert words in text
    assert "\n" not in text
    assert text.isprintable()


@pytest.mark.parametrize("data", [None, 5, [], "{}", [EXAMPLE]])
def test_what_is_no_object_is_no_card(data):
    assert "it must be an object" in message(data)


def test_all_problems_come_in_one_message():
    data = changed(
        ["layers", 4, "stride"],
        0,
        changed(["rounding"], "up", changed(["layers", 5], {"op": "leakyrelu"})),
    )
    first, *rest = message(data).splitlines()
    assert first == "card 'digits' has 3 problems:"
    assert {line.split(" is ")[0] for line in rest} == {
        '  layer 4 (conv_transpose, key "net.2"): stride',
        "  layer 5 (leakyrelu): op",
        "  rounding",
    }


def test_long_lists_of_problems_are_cut():
    lines = message(changed(["layers"], [{"op": "nope"}] * 30)).splitlines()
    assert lines[0] == "card 'digits' has 30 problems:"
    assert len(lines) == 22
    assert lines[-1] == "  ... and 10 more"


def test_nesting_has_an_end():
    data = {}
    for _ in range(5000):
        data = {"a": data}
    assert "nested too deeply" in message(EXAMPLE | {"source": data})


def test_read_card(tmp_path):
    file = tmp_path / "a.card.json"
    file.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(EXAMPLE | {"note": "Gürtel"}, ensure_ascii=False).encode()
    )
    assert read_card(file).note == "Gürtel"


FILES = {
    "empty": (b"", "not JSON: Expecting value (line 1, column 1)"),
    "cut off": (b'{\n "name": "x",', "not JSON: "),
    "list": (b"[]", "the card is a list; it must be an object"),
    "latin-1": (b'{"name": "G\xfcrtel"}', "byte 11 is not UTF-8"),
    "field twice": (b'{"name": "a", "name": "a"}', "'name' stands twice in one object"),
    "field twice inside": (b'{"latent": {"dim": 2, "dim": 3}}', "'dim' stands twice in one object"),
    "NaN": (b'{"value_range": [NaN, 1]}', "holds NaN, which is no JSON"),
    "infinity": (b'{"source": -Infinity}', "holds -Infinity, which is no JSON"),
    "overflow": (b'{"source": {"a": 1e999}}', "source.a is not a finite number"),
    "digits": (b'{"source": ' + b"9" * 5000 + b"}", "too many digits"),
    "deep": (b'{"source": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "large": (b" " * (1 << 20) + b"{}", "larger than 1048576 bytes"),
    "weights": (b"PK\x03\x04\x80\x02", "byte 4 is not UTF-8"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_file(case, tmp_path):
    content, words = FILES[case]
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    with pytest.raises(CardError, match=re.escape(words)) as caught:
        read_card(file)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("name", "words"),
    [("absent.json", "cannot be read"), (".", "not a file"), ("a\0b", "cannot be")],
)
def test_what_is_no_file(name, words, tmp_path):
    with pytest.raises(CardError, match=words):
        read_card(f"{tmp_path}/{name}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CardError, match="not a file"):
        read_card(tmp_path / "pipe")


def test_messages_of_the_page():
    layers = EXAMPLE["layers"]
    said = [
        message(changed(["layers", 4, "stride"], ...)),
        message(changed(["layers", 5], {"op": "leakyrelu"})),
        message(changed(["layers", 4, "output_padding"], 2)),
        misfit(EXAMPLE, {name: shape for name, shape in TENSORS.items() if name != "net.2.weight"}),
        misfit(row(layers[0], layers[7], dim=64) | {"name": "digits"}, TENSORS),
        misfit(changed(["layers", 1, "shape"], [64, 7, 7]), TENSORS),
    ]
    block = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]
    assert block == "\n".join(said) + "\n"
