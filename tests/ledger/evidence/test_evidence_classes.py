"""Evidence about a conditional generator: labels belong to latents."""

from typing import Any

import jax
import numpy as np
import pytest
from recorded_logs import Owner, attribution
from test_spaces import styled
from tiny_world import NONCE, Z, pixels_of, saying

from jattr.errors import VerificationError
from jattr.images import encode_png, to_byte
from jattr.ledger.commitments import latent_value
from jattr.ledger.evidence.bundle import Attribution
from jattr.ledger.evidence.inversion import observe_image
from jattr.ledger.evidence.judge import CONSISTENT, NOT_SUPPORTED
from jattr.ledger.evidence.make import Evidence, EvidenceRequest, make_evidence
from jattr.ledger.evidence.regenerate import make_questioned_image
from jattr.ledger.evidence.verify import verify_evidence
from jattr.ledger.perceptual import turned_hashes
from jattr.ledger.recording import model_leaf

LABELS = np.array([2, 0, 1], np.int32)


def certified(gen: Any, data: bytes, place: int, label: int, stated: int | None) -> Attribution:
    """What a search that found Z[place] with a label would say; `stated` is what is stated."""
    residual = observe_image(data, gen, None).residual(Z[place], label)
    latent = latent_value(Z[place], "z", stated)
    return attribution("fits", certificate=True, latent=latent, residual=f"{residual:.6g}")


def test_labels_are_a_part_of_what_is_logged_and_found(mine: Owner, tiny_conditional: Any) -> None:
    gen = tiny_conditional
    pixels = to_byte(np.asarray(gen.generate(Z[:3], label=LABELS)))
    uses = mine.use(gen, Z[:3], pixels, labels=LABELS)
    end = mine.publish()

    def asked(data: bytes, said: Attribution) -> Evidence:
        question = EvidenceRequest("accused.png", data, None, end, nonce=NONCE)
        return make_evidence(mine.log, mine.private, mine.policy, gen, said, question)

    def verified(data: bytes, said: Attribution) -> Any:
        return verify_evidence(
            data, mine.public, mine.policy, gen=gen, nonce=NONCE, invert=saying(said)
        )

    for place in range(3):
        data = encode_png(pixels[place])
        said = certified(gen, data, place, int(LABELS[place]), int(LABELS[place]))
        made = asked(data, said)
        assert (made.verdict.kind, made.verdict.use) == (CONSISTENT, uses[place].entry)
        assert verified(made.data, said).verdict == made.verdict
    other = encode_png(to_byte(np.asarray(gen.generate(Z[4:5], label=np.array([1]))))[0])
    said = certified(gen, other, 4, 1, 1)
    assert verified(asked(other, said).data, said).verdict.kind == NOT_SUPPORTED
    for stated in (None, 0, 3):
        said = certified(gen, other, 4, 1, stated)
        with pytest.raises(VerificationError, match="attribution"):
            verified(asked(other, said).data, said)


def test_an_unconditional_model_takes_no_label(mine: Owner, tiny: Any) -> None:
    pixels = pixels_of(tiny, Z[:1])
    mine.use(tiny, Z[:1], pixels)
    data, end = encode_png(pixels[0]), mine.publish()
    residual = f"{observe_image(data, tiny, None).residual(Z[0], None):.6g}"
    said = attribution(
        "fits", certificate=True, latent=latent_value(Z[0], "z", 0), residual=residual
    )
    question = EvidenceRequest("accused.png", data, None, end, nonce=NONCE)
    made = make_evidence(mine.log, mine.private, mine.policy, tiny, said, question)
    with pytest.raises(VerificationError, match=r"attribution \(latent\): tiny has no such latent"):
        verify_evidence(made.data, mine.public, mine.policy, gen=tiny, nonce=NONCE)


@pytest.mark.slow
def test_a_use_is_made_again_under_the_settings_of_its_own_model_leaf(mine: Owner) -> None:
    """The candidate has the card's psi; the use had another, which the log says."""
    gen = styled()
    used, z = gen.view(psi=0.5), np.asarray(gen.sample_latent(jax.random.key(3), 3))
    pixels = pixels_of(used, z)
    uses = mine.use(used, z, pixels)
    data, end = encode_png(pixels[1]), mine.publish()
    said = attribution("undecided")
    observation = make_questioned_image(
        data, pixels[1], turned_hashes(pixels[1]), gen.weights_digest, said, gen
    )
    assert observation.explains is not None
    settings = model_leaf(used).settings
    assert observation.explains({**settings, "space": "z"}, z[1], None)
    assert not observation.explains({**settings, "psi": "0.9", "space": "z"}, z[1], None)
    made = make_evidence(
        mine.log,
        mine.private,
        mine.policy,
        gen,
        said,
        EvidenceRequest("a.png", data, None, end, nonce=NONCE),
    )
    assert (made.verdict.kind, made.verdict.use, made.verdict.weaknesses) == (
        CONSISTENT,
        uses[1].entry,
        (),
    )
    found = verify_evidence(
        made.data, mine.public, mine.policy, gen=gen, nonce=NONCE, invert=saying(said)
    )
    assert all(one.explains == (one.entry == uses[1].entry) for one in found.regenerated)
