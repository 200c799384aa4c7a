"""What becomes of outputs as parts of an image are hidden."""

from attribution_contracts.base import Wire
from attribution_contracts.parameters.occlusion import ChosenFeatureMap


class WindowPlace(Wire):
    """A window, in pixels of the image as the network saw it."""

    top: int
    left: int
    height: int
    width: int

    @property
    def said(self) -> str:
        """Where it lies: `rows 0 to 31, columns 8 to 39`."""
        right, bottom = self.left + self.width - 1, self.top + self.height - 1
        return f"rows {self.top} to {bottom}, columns {self.left} to {right}"


class WindowChange(Wire):
    """What hiding one window does to a number."""

    change: float
    """The number of the whole image less that with the window hidden: positive where the part speaks for it."""
    percent: float | None
    """Of the size of the number of the whole image; null where that is 0."""
    window: WindowPlace


class HiddenNumber(Wire):
    """One explained class or feature map."""

    target: int | None
    """The class; null of a feature map."""
    feature_map: ChosenFeatureMap | None = None
    output: float
    """Of the whole image."""
    most: WindowChange
    """The window whose hiding lowers it most."""
    least: WindowChange
    """The window whose hiding raises it most, or lowers it least."""

    def sentence(self, name: str, fill: str = "") -> str:
        """What hiding does to it, in words.

        Args:
            name: That of a class.
            fill: What is shown in place of what is hidden; nothing where that is not known.
        """
        which = name if self.feature_map is None else f"{self.feature_map.layer}, {self.feature_map.said}"
        if self.most.change <= 0:
            return f"no window that is hidden{_by(fill)} lowers {which}"
        share = "" if self.most.percent is None else f", {self.most.percent:.3g} % of it"
        where = f"{self.most.window.said} are hidden{_by(fill)}"
        return f"{which} falls most, by {self.most.change:.3g}{share}, where {where}"


class ClassRise(Wire):
    """A class whose output rises when a part is hidden."""

    index: int
    name: str | None
    rise: float
    """With the window hidden above the whole image, in units of the explained output."""
    window: WindowPlace
    """The one that raises it most."""

    def sentence(self, fill: str = "") -> str:
        """Which class rises, where, and what is shown there instead, in words."""
        name = str(self.index) if self.name is None else self.name
        return f"{name} rises by {self.rise:.3g} where {self.window.said} are hidden{_by(fill)}"


def _by(fill: str) -> str:
    return f" by {fill}" if fill else ""


class HiddenParts(Wire):
    """What occlusion says of an image."""

    window: tuple[int, int]
    """Height and width of the windows, in pixels of the image as the network saw it."""
    stride: tuple[int, int]
    """From one to the next, down and across; the last of a row or column are cut where the image ends."""
    fill: str = ""
    """What is shown in place of what is hidden, in words; empty in results of earlier versions."""
    grid: tuple[int, int]
    """Rows and columns of windows."""
    is_local: bool
    """Whether only what a window changes was computed again; the figures are the same to rounding."""
    numbers: list[HiddenNumber]
    """Classes, then feature maps."""
    rises: list[ClassRise]
    """The classes that rise most, the highest first; each by its best window."""


class HiddenPartsFigures(Wire):
    """What an image's result says of its parts."""

    hidden_parts: HiddenParts | None = None
    """Of occlusion."""
