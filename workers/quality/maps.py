"""The figures that a request asks of its maps."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from torch import Tensor

from attribution_contracts.figures.deletions import PatchDeletions
from attribution_contracts.figures.localization import MapLocalization
from attribution_contracts.figures.occlusion import OcclusionCurve
from attribution_contracts.hints import in_words
from attribution_contracts.quality import DeletionOptions, LocalizationOptions, OcclusionOptions, QualityOptions
from workers.jobs.provenance import Stopwatch
from workers.methods.calls import Call, Explained, MethodOutput
from workers.quality.deletions import deletions_of
from workers.quality.localization import localization_of
from workers.quality.occlusion import occlusion_of

OptionsT = TypeVar("OptionsT", OcclusionOptions, DeletionOptions, LocalizationOptions)
FigureT = TypeVar("FigureT", OcclusionCurve, PatchDeletions, MapLocalization)
_STAGES = {"occlusion": "occluding", "deletions": "deleting", "localization": "localizing"}
"""What the progress calls the time that a figure takes."""


class MapFigures(NamedTuple):
    """The figures of each image."""

    occlusion: list[list[OcclusionCurve]]
    deletions: list[list[PatchDeletions]]
    localization: list[list[MapLocalization]]
    missing: dict[str, str]
    """Why a figure that was asked for is not there."""


def figures_of_maps(
    asked: QualityOptions,
    call: Call,
    explained: Explained,
    predicted: Tensor,
    clock: Stopwatch,
    progress: Callable[[str], Callable[[int, int], None]],
) -> MapFigures:
    """The figures of the maps of some images.

    Args:
        asked: Which, and how.
        call: The images, and the network that was explained.
        explained: The maps.
        predicted: The class that is followed where a map is of no class, `int64 (batch,)`.
        clock: Takes the time of each figure.
        progress: What a figure calls between chunks, by the stage of the job.
    """
    missing = dict[str, str]()

    def of_maps(
        name: str, options: OptionsT | None, judge: Callable[[Call, list[MethodOutput], OptionsT], list[list[FigureT]]]
    ) -> list[list[FigureT]]:
        if options is None:
            return [[] for _ in call.rows]
        fields = options.judged(call.params.quantities)
        judged = [given for given in explained.outputs if given.field in fields]
        if not judged:
            what = in_words(fields, "or")
            missing[name] = f"{call.params.method} found no map {what} of this model that lies over the image's pixels"
            return [[] for _ in call.rows]
        with clock(name):
            return judge(call._replace(progress=progress(_STAGES[name])), judged, options)

    return MapFigures(
        of_maps(
            "occlusion",
            asked.occlusion,
            lambda call, maps, options: occlusion_of(call, maps, predicted, explained.compared, options),
        ),
        of_maps("deletions", asked.deletions, lambda call, maps, options: deletions_of(call, maps, predicted, options)),
        of_maps(
            "localization",
            asked.localization,
            lambda call, maps, options: localization_of(call, maps, predicted, options),
        ),
        missing,
    )
