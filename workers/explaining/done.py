"""What is known of an image once it is explained."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from attribution_contracts.figures.occlusion import OcclusionCurve
from attribution_contracts.results import ClassScore, TargetScore
from workers.drawing.files import Map
from workers.methods.baselines import Row
from workers.methods.calls import Figures


class Done(NamedTuple):
    """One image that was explained."""

    row: Row
    prediction: list[ClassScore]
    label: ClassScore | None
    targets: list[TargetScore]
    figures: Figures
    maps: list[Map]
    measured: Mapping[str, Any]
    """What was measured of its maps, by field of the image's result."""

    @property
    def occlusion(self) -> list[OcclusionCurve]:
        """The curves among it."""
        found: list[OcclusionCurve] = self.measured.get("occlusion", [])
        return found
