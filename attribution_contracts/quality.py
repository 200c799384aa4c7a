"""Figures about the maps themselves, for a job of any method to ask for."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Discriminator, Field, Tag, model_validator

from attribution_contracts.base import Wire
from attribution_contracts.baselines import (
    BackgroundBaseline,
    Baseline,
    Fill,
    SetBaseline,
    UniformBaseline,
    ZeroBaseline,
)
from attribution_contracts.methods import Explanation
from attribution_contracts.patterns import QUANTITY

_Patches = Annotated[int, Field(ge=2, le=16, strict=True)]
_Grid = Annotated[list[_Patches], Field(min_length=2, max_length=2)]


def _form(value: object) -> str:
    return "flag" if isinstance(value, bool) else "list" if isinstance(value, list) else "side"


class OcclusionOptions(Wire):
    """Replace pixels in falling order of a map, step by step, and follow what the network says."""

    quantity: Annotated[str, Field(min_length=1, max_length=64, pattern=QUANTITY)] | None = None
    """The map that gives the order; the first of the method's quantities unless told."""
    n_steps: Annotated[int, Field(ge=1, le=200, strict=True)] = 20
    """Steps after the first, at each of which as many pixels more are replaced."""
    share: Annotated[float, Field(gt=0, le=1, strict=True)] = 1.0
    """Of all pixels, replaced at the last step."""
    positive_only: bool = False
    """Leave pixels that the map has at 0 or below as they are, so that the curve is level from there."""
    baseline: Fill = ZeroBaseline()
    """What takes a pixel's place: an image, or the mean of its neighbours (`noisy_linear`)."""
    insertion: bool = True
    """Besides taking pixels away, start without any and bring them back."""
    references: bool = True
    """Follow random orders and the order of input x gradient beside the map's."""
    random_orders: Annotated[int, Field(ge=2, le=100, strict=True)] = 5
    """Random orders in each direction: their mean is shown, and what they differ by is what a map has to exceed."""
    best_order: Annotated[
        Annotated[bool, Tag("flag")] | Annotated[_Patches, Tag("side")] | Annotated[_Grid, Tag("list")],
        Discriminator(_form),
    ] = False
    """Search for the order of patches that is best for the class, greedily in each direction, and follow it as well:
    `true` for a grid of 7 x 7, or the patches along each side, or down and across."""

    @property
    def best_patches(self) -> tuple[int, int] | None:
        """Down and across, of those whose best order is searched for."""
        match self.best_order:
            case bool():
                return (7, 7) if self.best_order else None
            case int():
                return (self.best_order, self.best_order)
        return (self.best_order[0], self.best_order[1])

    def judged(self, quantities: Sequence[str]) -> Sequence[str]:
        """Those of a method's quantities that are followed."""
        return quantities[:1] if self.quantity is None else [self.quantity]

    @model_validator(mode="after")
    def _require_one_baseline(self) -> "OcclusionOptions":
        _require_one_image(self.baseline)
        return self


class DeletionOptions(Wire):
    """Replace each patch of a grid alone, and see how far the maps say what the explained output falls by."""

    quantity: Annotated[str, Field(min_length=1, max_length=64, pattern=QUANTITY)] | None = None
    """The map that is judged; all of the method's quantities unless told, from the same passes."""
    grid: Annotated[
        Annotated[_Patches, Tag("side")] | Annotated[_Grid, Tag("list")],
        Discriminator(lambda value: "list" if isinstance(value, list) else "side"),
    ] = 7
    """Patches along each side, or down and across."""
    baseline: Baseline = ZeroBaseline()
    """What takes a patch's place."""
    references: bool = True
    """Judge input x gradient and random maps beside the map, by the same falls."""
    random_maps: Annotated[int, Field(ge=2, le=100, strict=True)] = 20
    """Maps of Gaussian noise: the mean and the standard deviation of their figures are shown."""

    @property
    def patches(self) -> tuple[int, int]:
        """Down and across."""
        return (self.grid, self.grid) if isinstance(self.grid, int) else (self.grid[0], self.grid[1])

    def judged(self, quantities: Sequence[str]) -> Sequence[str]:
        """Those of a method's quantities that are judged."""
        return quantities if self.quantity is None else [self.quantity]

    @model_validator(mode="after")
    def _require_one_baseline(self) -> "DeletionOptions":
        _require_one_image(self.baseline)
        return self


class SensitivityOptions(Wire):
    """Explain noisy copies of the image, and see how far the maps move."""

    quantity: Annotated[str, Field(min_length=1, max_length=64, pattern=QUANTITY)] | None = None
    """The map that is judged; the first of the method's quantities unless told."""
    n_samples: Annotated[int, Field(ge=2, le=100, strict=True)] = 8
    """Noisy copies."""
    radius: Annotated[float, Field(gt=0, le=0.5, strict=True)] = 0.02
    """Largest change of a pixel, as a share of the distance from black to white."""
    references: bool = True
    """Judge input x gradient and random maps beside the map."""

    def judged(self, quantities: Sequence[str]) -> Sequence[str]:
        """Those of a method's quantities that are judged."""
        return quantities[:1] if self.quantity is None else [self.quantity]


class RandomizationOptions(Wire):
    """Draw the network's weights anew, and see what becomes of the maps."""

    quantity: Annotated[str, Field(min_length=1, max_length=64, pattern=QUANTITY)] | None = None
    """The map that is judged; the first of the method's quantities unless told."""
    n_draws: Annotated[int, Field(ge=1, le=10, strict=True)] = 1
    """Networks whose weights are all random."""
    cascade: Annotated[int, Field(ge=0, le=20, strict=True)] = 0
    """Steps in which the first of them becomes random, from the output on; none unless told."""
    bins: Annotated[int, Field(ge=2, le=1000, strict=True)] = 100
    """Of the histogram whose entropy is taken."""
    references: bool = True
    """Judge input x gradient and random maps beside the map."""

    def judged(self, quantities: Sequence[str]) -> Sequence[str]:
        """Those of a method's quantities that are judged."""
        return quantities[:1] if self.quantity is None else [self.quantity]

    @property
    def explanations(self) -> int:
        """Times that an image is explained again."""
        return self.n_draws + max(0, self.cascade - 1)


class LocalizationOptions(Wire):
    """Tell how far the maps lie within the mask or the boxes that images come with."""

    quantity: Annotated[str, Field(min_length=1, max_length=64, pattern=QUANTITY)] | None = None
    """The map that is judged; all of the method's quantities unless told."""
    tolerance: Annotated[int, Field(ge=0, le=64, strict=True)] = 0
    """Pixels of the map that its largest value may lie beside them and still count for the pointing game."""
    references: bool = True
    """Judge input x gradient, random maps and the centre of the image beside the map."""
    random_maps: Annotated[int, Field(ge=2, le=100, strict=True)] = 20
    """Maps of Gaussian noise: the mean and the standard deviation of their figures are shown."""

    def judged(self, quantities: Sequence[str]) -> Sequence[str]:
        """Those of a method's quantities that are judged."""
        return quantities if self.quantity is None else [self.quantity]


FigureOptions = OcclusionOptions | DeletionOptions | SensitivityOptions | RandomizationOptions | LocalizationOptions


class QualityOptions(Wire):
    """What is to be measured of the maps."""

    occlusion: OcclusionOptions | None = None
    """Occlusion curves."""
    deletions: DeletionOptions | None = None
    """Single deletions."""
    sensitivity: SensitivityOptions | None = None
    """How far maps move as the image moves a little."""
    randomization: RandomizationOptions | None = None
    """What becomes of maps as the network's weights are drawn anew."""
    localization: LocalizationOptions | None = None
    """Localisation, of images that come with a `mask` or `boxes`."""

    @property
    def asked(self) -> dict[str, FigureOptions]:
        """The figures that are asked for, by their fields."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: options for name, options in given.items() if options is not None}

    @property
    def fills(self) -> dict[str, Fill]:
        """What takes the place of pixels, by the figures that replace some."""
        return {name: fill for name, one in self.asked.items() if (fill := getattr(one, "baseline", None)) is not None}


def wrong_quality(quality: QualityOptions, explanations: Sequence[Explanation]) -> str | None:
    """Why figures that are asked for cannot be taken of the maps of some explanations; nothing where they can."""
    for name, options in quality.asked.items():
        for explanation in explanations:
            if not explanation.makes_maps:
                return f"{explanation.method} makes no maps of images to measure: leave quality.{name} out"
            if options.quantity is not None and options.quantity not in explanation.quantities:
                return (
                    f"quality.{name}.quantity is {options.quantity!r}; {explanation.method} as asked for gives "
                    f"{', '.join(explanation.quantities) or 'no maps'}"
                )
    return None


def _require_one_image(given: Fill) -> None:
    if isinstance(given, BackgroundBaseline | SetBaseline) or (
        isinstance(given, UniformBaseline) and given.n_samples > 1
    ):
        raise ValueError("baseline is several images; expected one, for it takes the place of pixels")
