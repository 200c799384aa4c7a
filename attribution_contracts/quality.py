"""Figures about the maps themselves, for a job of any method to ask for."""

from typing import Annotated

from pydantic import Field, model_validator

from attribution_contracts.base import Wire
from attribution_contracts.baselines import BackgroundBaseline, Baseline, SetBaseline, UniformBaseline, ZeroBaseline
from attribution_contracts.patterns import QUANTITY


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
    baseline: Baseline = ZeroBaseline()
    """What takes a pixel's place."""
    insertion: bool = True
    """Besides taking pixels away, start without any and bring them back."""
    references: bool = True
    """Follow random orders and the order of input x gradient beside the map's."""
    random_orders: Annotated[int, Field(ge=2, le=100, strict=True)] = 5
    """Random orders in each direction: their mean is shown, and what they differ by is what a map has to exceed."""

    @model_validator(mode="after")
    def _require_one_baseline(self) -> "OcclusionOptions":
        given = self.baseline
        if isinstance(given, BackgroundBaseline | SetBaseline) or (
            isinstance(given, UniformBaseline) and given.n_samples > 1
        ):
            raise ValueError("baseline is several images; expected one, for it takes the place of pixels")
        return self


class QualityOptions(Wire):
    """What is to be measured of the maps."""

    occlusion: OcclusionOptions | None = None
    """Occlusion curves."""
