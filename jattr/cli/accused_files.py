"""Accused pictures as `jattr attribute` reads them: as they are, and as each alternative of alteration has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jattr.cli.alterations import Alternative, altered_picture, alternatives_of, check_readable
from jattr.errors import ImageError, UnreadableJpegError
from jattr.images import Picture, load_picture
from jattr.images.fitting import channel_notes, with_channels

if TYPE_CHECKING:
    from jattr.generators.base import Generator
    from jattr.inversion.config import InvertConfig
    from jattr.nuisances.files import AlteredPictures

AS_IT_IS = ", or take the pixels that a decoder makes of it as they are (--alteration none)"


@dataclass(frozen=True, eq=False)
class AccusedFile:
    """One accused picture as read."""

    file: str
    picture: Picture | None  # None: it cannot be used
    forms: tuple[Picture, ...]  # for every candidate, where it may be unaltered
    altered: tuple[AlteredPictures | None, ...]  # as it looks under each alternative; None: unaltered
    reason: str  # why it cannot be used
    notes: tuple[str, ...] = ()  # on the alternatives
    incomplete: bool = False  # whether an alternative that should have been tried was not

    def all_notes(self) -> list[str]:
        """Return what was changed to read the picture and to fit it to any candidate, each once."""
        assert self.picture is not None
        forms = self.forms or (self.picture,)
        return list(dict.fromkeys([*(note for form in forms for note in form.notes), *self.notes]))


@dataclass(frozen=True, eq=False)
class PictureReader:
    """Reads pictures for candidates, under alternatives of what may have been done to them."""

    generators: Sequence[Generator]
    alternatives: Sequence[Alternative]
    config: InvertConfig
    resize: bool  # bring pictures to the candidates' sizes

    def read(self, file: str) -> AccusedFile:
        """Return a picture; where it cannot be used, with the reason."""
        try:
            picture = load_picture(file)
            altered, notes, problems = [], [], []
            each, incomplete = alternatives_of(self.alternatives, picture, self.generators, resize=self.resize)
            for alternative in each:
                try:
                    altered.append(self._altered(alternative, picture))
                except ImageError as error:
                    sound = not isinstance(error, UnreadableJpegError)
                    problems.append(f"{file!r}: {error}{'' if sound else AS_IT_IS}")
                    if alternative.guessed:
                        altered += [None] if sound else []
                        notes.append(f"not modelled as JPEG: {error}")
            if not altered:
                raise ImageError(problems[0])
            unaltered = None in altered
            forms = [picture.fit(gen.image_shape, resize=self.resize) for gen in self.generators] if unaltered else []
            notes += [note for pictures in altered if pictures is not None for note in self._changed(picture, pictures)]
            return AccusedFile(file, picture, tuple(forms), tuple(dict.fromkeys(altered)), "", tuple(notes), incomplete)
        except ImageError as error:
            return AccusedFile(file, None, (), (), str(error))

    def _altered(self, alternative: Alternative, picture: Picture) -> AlteredPictures | None:
        """Return a picture under an alternative; one that nobody asked for is not tried on other sizes."""
        if alternative.guessed:
            sizes = {gen.image_shape[:2] for gen in self.generators}
            if not picture.jpeg:
                return None
            if sizes != {picture.pixels.shape[:2]}:
                check_readable(picture)
                return None
            if len({gen.image_shape for gen in self.generators}) > 1:
                check_readable(picture)
                raise ImageError("the candidates make pictures of several kinds; give those of one kind")
        if alternative.before is not None and alternative.before.free:
            from jattr.inversion.free import fit_factors

            pixels = with_channels(picture.pixels, alternative.before.out_shape(self.generators[0].image_shape)[2])
            fitted = fit_factors(pixels, alternative.before, self.generators, self.config)
            alternative = dataclasses.replace(alternative, before=fitted)
        return altered_picture(alternative, picture, self.generators[0])

    def _changed(self, picture: Picture, pictures: AlteredPictures) -> tuple[str, ...]:
        """Return what was changed to give a picture the channels that the alteration leaves."""
        if pictures.quantised is not None and picture.jpeg:
            return ()  # coefficients as the file has them
        return channel_notes(picture.pixels, pictures.chain.out_shape(self.generators[0].image_shape)[2])
