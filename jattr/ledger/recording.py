"""Recording the uses of a model, before an image is made and before it leaves.

    MODEL leaf -> INTENT leaf, durable -> the image is made
    -> RESULT leaf, durable -> the image leaves

So an image that left has a leaf, whatever happened to the process. An intent without a result is an
orphan: reported, and opened and made again when evidence is asked for. Nothing here imports jax.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jattr._version import __version__
from jattr.errors import LedgerError
from jattr.generators.hook import GENERATE_HOOK
from jattr.images import encode_png
from jattr.ledger.commitments import (
    Opening,
    file_value,
    latent_value,
    pixels_value,
    recipient_value,
    seed_value,
)
from jattr.ledger.leaves import IntentLeaf, ModelLeaf, ResultLeaf, Scalar, parse_leaf
from jattr.ledger.perceptual import perceptual_hash
from jattr.ledger.private import PrivateStore
from jattr.ledger.store import LogStore
from jattr.source_files import sources_digest

if TYPE_CHECKING:  # for the annotations only: it imports jax
    from jattr.generators.base import Generator

CODE = ("generators/", "images/")  # parts of jattr on which an image depends
UNKEPT = ("random", "given")  # noise of which a MODEL leaf says too little to make an image again
OPENED = ("file", "pixels", "recipient")  # fields whose openings a recipient gets


@dataclass(frozen=True)
class Released:
    """One image that may leave, with what its recipient needs to show that it was logged."""

    entry: int  # of its RESULT leaf
    intent: int
    openings: tuple[Opening, ...]  # of the recipient's: file, pixels, recipient


class Recorder:
    """Writes the uses of models to a log. One process at a time, which the log's lock sees to."""

    def __init__(self, log: LogStore, private: PrivateStore, *, keep_images: bool = True):
        """Take a log that is open.

        Args:
          log: where to.
          private: where salts and values are kept.
          keep_images: keep each image as a PNG beside its salts. Without them an image can be
            shown again only where the same machine makes it again to the byte.
        """
        self.log, self.private, self.keep_images = log, private, keep_images
        self._models: dict[bytes, int] = {}

    def model(self, gen: "Generator") -> int:
        """Return the entry of the generator's MODEL leaf; its first use here appends it.

        Raises:
          LedgerError: its noise maps are not kept, so none of its images could be made again.
        """
        data = model_leaf(gen).data
        if data not in self._models:
            self._models[data] = self.log.append([data])[0]
        return self._models[data]

    def intend(
        self,
        gen: "Generator",
        latents: np.ndarray,
        *,
        seed: int | None = None,
        first: int = 0,
        labels: np.ndarray | Sequence[int] | None = None,
        settings: Mapping[str, Scalar] | None = None,
        beacon: str | None = None,
    ) -> range:
        """Log that images of these latents are about to be made; on return that is durable.

        Args:
          gen: the generator, in the space of the latents.
          latents: float32 [n, *latent_shape].
          seed: what they were drawn from, if from a seed.
          first: the place of the first among those that the seed gives.
          labels: int [n], for conditional generators.
          settings: of this use; public.
          beacon: public randomness of this time, such as a round of drand: the leaf is no older
            than it.

        Returns:
          The entries of the INTENT leaves.
        """
        latents = np.asarray(latents)
        if gen.num_classes and labels is None:
            raise LedgerError(f"{gen.name} is conditional: give a label for each latent")
        own_labels: list[int | None] = [None] * len(latents)
        if labels is not None and gen.num_classes:
            own_labels = [int(label) for label in labels]
        if len(own_labels) != len(latents) or latents.shape[1:] != tuple(gen.latent_shape):
            shape = ", ".join(map(str, ("n", *gen.latent_shape)))
            raise LedgerError(
                f"latents {latents.shape} with {len(own_labels)} labels: give latents [{shape}], a"
                " label each"
            )
        openings: list[dict[str, Opening]] = []  # of each use, by field
        for index, (z, label) in enumerate(zip(latents, own_labels, strict=True), first):
            values = {"latent": latent_value(np.asarray(z), gen.space, label)}
            if seed is not None:
                values["seed"] = seed_value(seed, index)
            openings.append({name: Opening.new(name, value) for name, value in values.items()})
        model = self.model(gen)
        leaves = []
        for fields in openings:
            hexes = {name: opening.commitment.hex() for name, opening in fields.items()}
            leaves.append(
                IntentLeaf(model, hexes["latent"], hexes.get("seed"), settings or {}, beacon)
            )
        # The openings first: a commitment whose salt was lost stays shut for ever.
        self.private.put(opening for fields in openings for opening in fields.values())
        return self.log.append([leaf.data for leaf in leaves])

    def release(
        self,
        intents: Sequence[int],
        pixels: np.ndarray,
        *,
        files: Sequence[bytes] | None = None,
        recipient: str | None = None,
    ) -> list[Released]:
        """Log what was made; on return that is durable, and the images may leave.

        Args:
          intents: entries of the INTENT leaves.
          pixels: uint8 [n, H, W, C], as they leave.
          files: the exact bytes of each file, where they leave as files.
          recipient: who gets them.

        Raises:
          LedgerError: they are not as many as the intents, or an entry is no INTENT leaf. Nothing
            is logged then.
        """
        if len(intents) != len(pixels) or (files is not None and len(files) != len(pixels)):
            raise LedgerError(
                f"{len(intents)} intents, {len(pixels)} images: give an image, and a file, for each"
            )
        for intent in intents:
            if not isinstance(parse_leaf(self.log.entry(intent)), IntentLeaf):
                raise LedgerError(f"entry {intent} is no INTENT leaf; give what `intend` returned")
        openings: list[dict[str, Opening]] = []  # of each image, by field
        for i, image in enumerate(pixels):
            values = {"pixels": pixels_value(image), "perceptual": perceptual_hash(image)}
            if files is not None:
                values["file"] = file_value(files[i])
            if recipient is not None:
                values["recipient"] = recipient_value(recipient)
            openings.append({name: Opening.new(name, value) for name, value in values.items()})
        pngs = []
        if self.keep_images:
            pngs = [
                (fields["pixels"].commitment, encode_png(image))
                for fields, image in zip(openings, pixels, strict=True)
            ]
        # The openings first: a commitment whose salt was lost stays shut for ever.
        self.private.put((opening for fields in openings for opening in fields.values()), pngs)
        leaves = [
            _result(intent, fields).data for intent, fields in zip(intents, openings, strict=True)
        ]
        entries = self.log.append(leaves)
        return [
            Released(entry, intent, tuple(fields[name] for name in OPENED if name in fields))
            for entry, intent, fields in zip(entries, intents, openings, strict=True)
        ]

    @contextlib.contextmanager
    def recording(
        self,
        gen: "Generator",
        *,
        recipient: str | None = None,
        settings: Mapping[str, Scalar] | None = None,
        beacon: str | None = None,
    ) -> Iterator[list[Released]]:
        """Log every `generate` of this thread in the block; give the list of what may leave.

        Arrays leave as they are, in floats; their bytes by the generator's rounding rule are what
        is logged. Other threads, `gen.apply`, and functions that were compiled with `generate` in
        them are not seen. Blocks may stand within each other: each logs its own generator.

        Raises:
          LedgerError: `generate` is called within `jax.jit`, `grad` or `vmap`, where nothing can be
            logged.

            with recorder.recording(gen) as released:
                images = gen.generate(gen.sample_latent(key, 4))
        """
        released: list[Released] = []
        outer = GENERATE_HOOK.get()

        def around(used: Any, z: Any, labels: Any, make: Callable[[], Any]) -> Any:
            generate = make if outer is None else functools.partial(outer, used, z, labels, make)
            if used.weights_digest != gen.weights_digest:
                return generate()
            latents = _concrete(z)
            own_labels = None if labels is None else _concrete(labels)
            intents = self.intend(
                used, latents, labels=own_labels, settings=settings, beacon=beacon
            )
            images = generate()
            pixels = used.to_bytes(images)
            released.extend(self.release(intents, pixels, recipient=recipient))
            return images

        token = GENERATE_HOOK.set(around)
        try:
            yield released
        finally:
            GENERATE_HOOK.reset(token)


def model_leaf(gen: "Generator") -> ModelLeaf:
    """Return the leaf of a generator with its code and settings.

    Raises:
      LedgerError: its noise maps are not kept.
    """
    if gen.settings is not None and gen.settings.noise in UNKEPT:
        raise LedgerError(
            f"the noise maps of {gen.name} are {gen.settings.noise}, so its images could never be"
            ' made again from the log; use noise "const" or "none", or "search", where the maps are'
            " part of the latent"
        )
    code, settings = f"jattr {__version__}", settings_of(gen)
    return ModelLeaf(
        gen.name, gen.digest, gen.weights_digest, code, generator_code_digest(), settings
    )


def settings_of(gen: "Generator") -> dict[str, Scalar]:
    """Return a generator's space, rounding and settings as a MODEL leaf states them."""
    own = {} if gen.settings is None else gen.settings.to_json()
    texts = {name: str(value) if isinstance(value, float) else value for name, value in own.items()}
    return {"space": gen.space, "rounding": gen.byte_rule, **texts}


@functools.cache
def generator_code_digest() -> str:
    """Return the SHA-256 over the source files of jattr on which a generated image depends."""
    return sources_digest(lambda name: name.startswith(CODE))


def _concrete(values: Any) -> np.ndarray:
    """Return an array's numbers."""
    try:
        return np.asarray(values)
    except TypeError as error:  # jax's, of what it traces
        raise LedgerError(
            "generate is called within jit, grad or vmap, where nothing can be logged; call it"
            " outside of them"
        ) from error


def _result(intent: int, openings: Mapping[str, Opening]) -> ResultLeaf:
    commitments = {name: opening.commitment.hex() for name, opening in openings.items()}
    return ResultLeaf(
        intent,
        commitments.get("file"),
        commitments["pixels"],
        commitments["perceptual"],
        commitments.get("recipient"),
    )
