"""Images that a style-based generator made under other settings than those that were searched."""

import json

import jax
import numpy as np
import pytest
from fake_files import random_tensors
from PIL import Image

from jattr.attribution.attribute import attribute
from jattr.attribution.certify import certify_image
from jattr.attribution.other_settings import (
    OtherSettings,
    named_settings,
    narrow_views,
    view_flags,
    widest_view,
)
from jattr.attribution.racing import make_inverters
from jattr.attribution.result_json import finding_record
from jattr.cli.main import main
from jattr.decision.verdict import Evidence, decide
from jattr.errors import InputError
from jattr.generators.registry import parse_any_card
from jattr.generators.store import make_generator, save_generator
from jattr.generators.stored import as_tree
from jattr.images import encode_png
from jattr.inversion.config import InvertConfig
from jattr.inversion.observation.base import Observation
from jattr.inversion.settings import MultiStart
from jattr.ledger.evidence.inversion import invert_image
from jattr.verification.verify import verify

FEW = InvertConfig(restarts=8, pool=128).search
TRIED = OtherSettings(own_images=4)


def parts_of(name="styled", seed=0, strength=0.3, **settings):
    """Card and weights of an 8x8 StyleGAN2 with 6 numbers in w and noise maps that show."""
    data = {
        "card_version": 1,
        "kind": "stylegan2",
        "name": name,
        "settings": settings,
        "architecture": {"channels": [6, 5], "z_dim": 4, "mapping_widths": [6], "equalised": True},
    }
    card = parse_any_card(data)
    tensors = random_tensors("stylegan2", card.architecture, seed)
    for path, array in tensors.items():
        scale = 100 if "mapper" in path and array.ndim == 2 else 0.5
        tensors[path] = array * np.float32(0 if path.endswith("to_image/bias") else scale)
        if path.endswith("noise_strength"):
            tensors[path] = np.full_like(array, strength)
    return card, as_tree(tensors)


def styled(*args, **options):
    """The generator of `parts_of`."""
    return make_generator(*parts_of(*args, **options))


@pytest.fixture(scope="module")
def gen():
    return styled()


def mixed(gen, n=2):
    """Images whose first styles are of one latent and whose last are of another."""
    ws = np.asarray(gen.view("w").sample_latent(jax.random.key(3), 2 * n))
    layers = gen.latent_shape_of("w+")[0]
    first = np.arange(layers)[:, None] < layers // 2
    return gen.view("w+").make_bytes(np.where(first, ws[:n, None], ws[n:, None]))


@pytest.mark.slow
def test_the_widest_view_holds_what_every_setting_makes(gen):
    wide = widest_view(gen)
    layers, size = gen.latent_shape_of("w+")
    ws = np.asarray(gen.view("w", noise="none").sample_latent(jax.random.key(0), 1))
    assert wide.latent_shape == (layers * size + 4 * 4 + 2 * 8 * 8,)
    maps = [np.asarray(part) for part in gen.state["noise"]]
    flat = np.concatenate([np.tile(ws, (1, layers)).ravel(), *(part.ravel() for part in maps)])
    made = gen.view("w").generate(ws)
    np.testing.assert_allclose(wide.generate(flat[None]), made, atol=1e-5)
    samples = np.asarray(wide.sample_latent(jax.random.key(1), 3))
    of_layers = samples[:, : layers * size].reshape(3, layers, size)
    assert np.abs(of_layers[:, 0] - of_layers[:, 1]).max() > 0  # styles are mixed


def test_narrow_views_are_named_and_leave_out_what_was_searched(gen):
    names = [view.name for view in narrow_views(gen, [gen])]
    assert names == [
        "styled in w, noise const",
        "styled in w, noise none",
        "styled in w+, noise const",
        "styled in w+, noise none",
    ]
    left = narrow_views(gen.view("w"), [gen.view("w")])
    assert [view.name for view in left] == names[1:]
    assert view_flags(left[0]) == "--space w --noise none"


def test_settings_that_were_named_are_told_from_those_that_were_not():
    assert named_settings(MultiStart()) == ""
    assert named_settings(MultiStart(space="w", noise="none")) == "--space w --noise none"


def test_other_settings_are_checked(gen):
    with pytest.raises(InputError, match=r"other_settings.far is 0.5"):
        OtherSettings(steps=(60,), far=(0.5,))
    with pytest.raises(InputError, match="tuples of one length"):
        OtherSettings(steps=(60,))
    pixels = np.zeros((1, *gen.image_shape), np.uint8)
    with pytest.raises(InputError, match=r"it is a jattr.OtherSettings"):
        attribute(pixels, [gen], other_settings="all")


@pytest.mark.slow
def test_views_that_differ_in_noise_maps_alone_are_searched_apart(gen):
    pixels = np.zeros((1, *gen.image_shape), np.uint8)
    views = [gen.view(noise=jax.random.key(seed)) for seed in (1, 2)]
    first, second = make_inverters(
        [Observation(view, pixels) for view in views], FEW, jax.random.key(0)
    )
    assert first is not second
    same = make_inverters([Observation(gen, pixels)] * 2, FEW, jax.random.key(0))
    assert same[0] is same[1]


def test_a_wider_view_that_comes_nearer_does_not_hide_a_certificate(certificate):
    narrow = Evidence("a", "d", 5.2e-6, certificate, 1, 1, 0, settings="z")
    wide = Evidence("a in w+", "d", 4.8e-6, None, 1, 1, 0, settings="w+")
    verdict = decide([wide, narrow])
    assert (verdict.kind, verdict.candidates) == ("made-by", ("a",))


@pytest.fixture
def certificate(gen):
    z = np.asarray(gen.sample_latent(jax.random.key(2), 1))
    return certify_image(gen, z[0], gen.make_bytes(z)[0])


@pytest.mark.slow
def test_mixed_styles_are_named_with_the_settings_that_made_them(gen):
    found = attribute(mixed(gen), [gen], search=FEW, other_settings=TRIED)
    for i, verdict in enumerate(found.verdicts):
        assert (verdict.kind, verdict.candidates) == ("made-by", ("styled in w+, noise const",))
        assert verdict.certificate.holds
        assert any("w+ with its noise maps searched" in text for text in found.tried[i])
        assert finding_record(found, i)["tried"] == list(found.tried[i])
    alone = attribute(mixed(gen), [gen], search=FEW, other_settings=None)
    assert {verdict.kind for verdict in alone.verdicts} <= {"none", "undecided"}


@pytest.mark.slow
def test_random_noise_is_never_none(gen):
    z = np.asarray(gen.sample_latent(jax.random.key(4), 2))
    pixels = gen.view(noise=jax.random.key(9)).make_bytes(z)
    found = attribute(pixels, [gen, styled("other", 1)], search=FEW, other_settings=TRIED)
    for verdict in found.verdicts:
        assert verdict.kind == "undecided"
        assert "--space w+, --noise search, --noise none, --psi" in verdict.reason
        assert verdict.reason.count("bring near it: ") == 1


@pytest.mark.slow
def test_settings_that_were_named_are_searched_alone(gen):
    named = InvertConfig(restarts=8, pool=128, noise="const").search
    found = attribute(mixed(gen), [gen], search=named, other_settings=TRIED)
    nones = [verdict for verdict in found.verdicts if verdict.kind == "none"]
    assert len(found.candidates) == 1
    for verdict in nones:
        assert "under the settings that were named (--noise const) alone" in verdict.reason


@pytest.mark.slow
def test_what_is_too_large_to_be_tried_is_undecided(gen):
    pixels = mixed(gen, 1)
    found = attribute(
        pixels, [gen], search=FEW, other_settings=OtherSettings(max_latent=10), second_look=False
    )
    assert found.verdicts[0].kind == "undecided"
    assert "too large to be tried of: styled" in found.verdicts[0].reason


@pytest.mark.slow
def test_evidence_denies_no_unlogged_image_under_any_setting(gen):
    z = np.asarray(gen.sample_latent(jax.random.key(4), 1))
    config = InvertConfig(restarts=8, pool=128)
    # settings that the log's owner names hide no others
    for made, searched in (
        (gen.view(noise="none"), gen.view(noise="const")),
        (gen.view(noise=jax.random.key(9)), gen),
    ):
        said = invert_image(encode_png(made.make_bytes(z)[0]), searched, config=config)
        assert said.fit == "undecided", said.reason
        assert "--space w" in said.reason


@pytest.mark.slow
def test_result_verify_and_report_carry_the_settings(gen, tmp_path, monkeypatch):
    monkeypatch.setenv("JATTR_CACHE", str(tmp_path / "cache"))
    save_generator(tmp_path / "g", *parts_of())
    save_generator(tmp_path / "other", *parts_of("other", 1))
    files = []
    own = gen.make_bytes(np.asarray(gen.sample_latent(jax.random.key(6), 1)))
    for number, pixels in enumerate([*own, *mixed(gen)]):
        files.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(pixels).save(files[-1])
    both = [str(tmp_path / "g"), str(tmp_path / "other")]
    out = tmp_path / "out"
    assert main(["attribute", *files, "--candidates", *both, "--out", str(out)]) == 0
    data = json.loads((out / "result.json").read_text())
    name = "styled in w+, noise const"
    assert [row["candidate"] for row in data["pictures"]] == ["styled", name, name]
    record = next(record for record in data["candidates"] if record["name"] == name)
    assert (record["space"], record["settings"]["noise"], record["path"]) == (
        "w+",
        "const",
        both[0],
    )
    assert name in (out / "report.html").read_text()
    checked = verify(out, both)
    assert checked.differences == ()
    assert len(checked.certificates) == 3
