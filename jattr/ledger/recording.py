"""Recording the uses of a model: what stands in the log before an image is made, and before it
leaves.

    MODEL leaf -> INTENT leaf, durable -> the image is made
    -> RESULT leaf, durable -> the image leaves

So an image that left has a leaf, whatever happened to the process. An intent without a result is an
orphan: reported, and opened and made again when evidence is asked for. Generators are taken as they
are (`name`, `digest`, `generate`, ...), so nothing here imports jax.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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

CODE = ("generators/", "images/")  # parts of jattr on which an image depends
UNKEPT = ("random", "given")  # noise of which a MODEL leaf says too little to make an image again


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
          keep_pictures: keep each image as a PNG beside its salts. Without them an image can be
            shown again only where the same machine makes it again to the byte.
        """
        self.log, self.private, self.keep_images = log, private, keep_images
        self._models: dict[bytes, int] = {}

    def model(self, gen: Any) -> int:
        """Return the entry of the generator's MODEL leaf, which is appended before its first use by
        this recorder.

        Raises:
          LedgerError: its noise maps are not kept, so none of its images could be made again.
        """
        data = model_leaf(gen).data
        if data not in self._models:
            self._models[data] = self.log.append([data])[0]
        return self._models[data]

    def intend(
        self,
        gen: Any,
        latents: np.ndarray,
        *,
        seed: int | None = None,
        first: int = 0,
        labels: Any = None,
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
        known = (
            [None] * len(latents)
            if labels is None or not gen.num_classes
            else [int(label) for label in labels]
        )
        if gen.num_classes and labels is None:
            raise LedgerError(f"{gen.name} is conditional: give a label for each latent")
        if len(known) != len(latents) or latents.shape[1:] != tuple(gen.latent_shape):
            shape = ", ".join(map(str, ("n", *gen.latent_shape)))
            raise LedgerError(
                f"latents {latents.shape} with {len(known)} labels: give latents [{shape}], a"
                " label each"
            )
        hidden = [
            (
                Opening.new("latent", latent_value(np.asarray(z), gen.space, label)),
                None if seed is None else Opening.new("seed", seed_value(seed, first + i)),
            )
            for i, (z, label) in enumerate(zip(latents, known, strict=True))
        ]
        model = self.model(gen)
        leaves = [
            IntentLeaf(
                model,
                z.commitment.hex(),
                None if s is None else s.commitment.hex(),
                settings or {},
                beacon,
            )
            for z, s in hidden
        ]
        self.private.put(opening for pair in hidden for opening in pair if opening is not None)
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
        rows = []
        for i, (intent, one) in enumerate(zip(intents, pixels, strict=True)):
            opened = {"pixels": pixels_value(one), "perceptual": perceptual_hash(one)}
            if files is not None:
                opened["file"] = file_value(files[i])
            if recipient is not None:
                opened["recipient"] = recipient_value(recipient)
            rows.append(
                (intent, {name: Opening.new(name, value) for name, value in opened.items()}, one)
            )
        kept = (
            [(o["pixels"].commitment, encode_png(one)) for _, o, one in rows]
            if self.keep_images
            else []
        )
        self.private.put((opening for _, o, _ in rows for opening in o.values()), kept)
        leaves = [_result(intent, o).data for intent, o, _ in rows]
        places = self.log.append(leaves)
        return [
            Released(place, intent, tuple(o[n] for n in ("file", "pixels", "recipient") if n in o))
            for place, (intent, o, _) in zip(places, rows, strict=True)
        ]

    @contextlib.contextmanager
    def recording(
        self,
        gen: Any,
        *,
        recipient: str | None = None,
        settings: Mapping[str, Scalar] | None = None,
        beacon: str | None = None,
    ) -> Iterator[list[Released]]:
        """Log every `generate` of a generator that this thread calls in the block; give the list of
        what may leave.

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
            made_by = make if outer is None else functools.partial(outer, used, z, labels, make)
            if used.weights_digest != gen.weights_digest:
                return made_by()
            latents, known = _concrete(z), None if labels is None else _concrete(labels)
            intents = self.intend(used, latents, labels=known, settings=settings, beacon=beacon)
            made = made_by()
            pixels = used.to_bytes(made)
            released.extend(self.release(intents, pixels, recipient=recipient))
            return made

        token = GENERATE_HOOK.set(around)
        try:
            yield released
        finally:
            GENERATE_HOOK.reset(token)


def model_leaf(gen: Any) -> ModelLeaf:
    """Return the leaf of a generator with its code and settings.

    Raises:
      LedgerError: its noise maps are not kept.
    """
    if gen.settings is not None and gen.settings.noise in UNKEPT:
        raise LedgerError(
            f"the noise maps of {gen.name} are {gen.settings.noise}, so its images could never be"
            " made again from the"
            ' log; use noise "const" or "none", or "search", where the maps are part of the latent'
        )
    code, settings = f"jattr {__version__}", settings_of(gen)
    return ModelLeaf(
        gen.name, gen.digest, gen.weights_digest, code, generator_code_digest(), settings
    )


def settings_of(gen: Any) -> dict[str, Scalar]:
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
    said = {name: opening.commitment.hex() for name, opening in openings.items()}
    return ResultLeaf(
        intent, said.get("file"), said["pixels"], said["perceptual"], said.get("recipient")
    )
