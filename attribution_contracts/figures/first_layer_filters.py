"""What first-layer filters say of a model."""

from attribution_contracts.base import Wire
from attribution_contracts.hints import in_words

_NEARLY_ZERO = 0.01
"""Of the largest norm."""
_NAMED = 12


class Filters(Wire):
    """The filters of a model's first convolution."""

    layer: str
    kernel: tuple[int, int]
    """Height and width, in pixels."""
    stride: tuple[int, int]
    """Pixels from one place to the next, down and across."""
    channels: int
    """Of the image, that each filter looks at."""
    norms: list[float]
    """The root of the sum of the squares of each filter's weights, by channel of the layer."""

    @property
    def unused(self) -> list[int]:
        """Filters that are nearly zero: under a hundredth of the largest."""
        most = max(self.norms)
        return [index for index, norm in enumerate(self.norms) if norm <= _NEARLY_ZERO * most]

    @property
    def sentence(self) -> str:
        """What they are, in words."""
        height, width = self.kernel
        told = f"{self.layer} has {len(self.norms):,} filters of {height} x {width} pixels, {self.stride[0]} apart"
        if not self.unused:
            return f"{told}; each is at least a hundredth as strong as the strongest."
        few, more = self.unused[:_NAMED], len(self.unused) - _NAMED
        named = in_words([*few, *([f"{more} others"] if more > 0 else [])])
        return (
            f"{told}; {len(self.unused):,} of them are under a hundredth as strong as the strongest ({named}): they "
            "learned nothing, or were pruned."
        )


class FilterFigures(Wire):
    """What a result says of filters."""

    filters: Filters | None = None
    """Of first-layer filters."""
