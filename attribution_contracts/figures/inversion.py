"""What inversion says of an image."""

from attribution_contracts.base import Wire

_CLOSE, _FAR = 0.1, 0.5
"""Relative errors up to which a layer is said to be matched, and from which on it is not."""


class InvertedStart(Wire):
    """One picture that was made to have the image's representation."""

    relative_error: float
    """The distance of the representations as a share of the length of the image's own."""
    curve: list[float]
    """The same before each step."""
    distance: float
    """Root mean square difference of its pixels, between 0 and 1, from the image's."""


class InvertedImage(Wire):
    """The pictures of one image."""

    layer: str
    channels: list[int] | None
    """Those that were to be matched; null for all."""
    starts: list[InvertedStart]
    """The pictures, in the order of their files."""
    spread: float
    """Root mean square difference of pixels between two of the pictures: how far the layer leaves the image open."""

    @property
    def sentence(self) -> str:
        """How close they came, in words."""
        errors = [start.relative_error for start in self.starts]
        what = f"{self.layer}" + ("" if self.channels is None else f", {len(self.channels)} of its channels")
        told = (
            f"{len(errors)} pictures from noise have the representation of the image at {what} but for "
            f"{_share(min(errors))} to {_share(max(errors))} of its length"
        )
        if max(errors) > _FAR:
            return f"{told}: at least one is far from it, so that it says little; take more steps."
        near = "" if max(errors) <= _CLOSE else ", not quite matched"
        apart = f"; their pixels differ by {self.spread:.2g} from each other" if len(errors) > 1 else ""
        mean = sum(start.distance for start in self.starts) / len(errors)
        return f"{told}{near}{apart} and by {mean:.2g} from the image, where black and white differ by 1."


class InversionFigures(Wire):
    """What an image's result says of inversion."""

    inversion: InvertedImage | None = None
    """Of inversion."""


def _share(error: float) -> str:
    return f"{error:.2%}".replace("%", " %")
