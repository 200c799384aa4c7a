"""What is known of an image once it is explained."""

from typing import NamedTuple

from attribution_contracts.figures.deletions import PatchDeletions
from attribution_contracts.figures.localization import MapLocalization
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
    occlusion: list[OcclusionCurve]
    deletions: list[PatchDeletions]
    localization: list[MapLocalization]
    localization_missing: str | None
    """Why there is none, where it was asked for."""
