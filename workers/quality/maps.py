"""The figures that a request asks of its maps."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from attribution.errors import NetworkError
from attribution_contracts.hints import in_words
from attribution_contracts.quality import QualityOptions
from workers.jobs.provenance import Stopwatch
from workers.methods.calls import Call, Explained
from workers.quality.deletions import deletions_of
from workers.quality.localization import localization_of
from workers.quality.occlusion import occlusion_of
from workers.quality.randomization import randomization_of
from workers.quality.sensitivity import sensitivity_of

_JUDGES: dict[str, Callable[..., list[list[Any]]]] = {
    "occlusion": occlusion_of,
    "deletions": deletions_of,
    "localization": localization_of,
    "sensitivity": sensitivity_of,
    "randomization": randomization_of,
}
"""What takes a figure of the maps of some images, by the field of the request and of each image's result."""
_MADE_AGAIN = {"sensitivity", "randomization"}
"""Figures that compare a map with the same one made again."""
_STAGES = {
    "occlusion": "occluding",
    "deletions": "deleting",
    "localization": "localizing",
    "sensitivity": "explaining noisy copies",
    "randomization": "explaining random networks",
}
"""What the progress calls the time that a figure takes."""


class MapFigures(NamedTuple):
    """The figures of each image."""

    figures: Mapping[str, list[list[Any]]]
    """Of each image, by field of its result."""
    missing: dict[str, str]
    """Why a figure that was asked for is not there."""

    def of(self, field: str, images: int) -> list[list[Any]]:
        """One of them, of so many images."""
        return self.figures.get(field, [[] for _ in range(images)])


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
    found, missing = dict[str, list[list[Any]]](), dict[str, str]()
    for name, options in asked.asked.items():
        judge = _JUDGES[name]
        more = {"classes": explained.compared} if name == "occlusion" else {}
        fields = options.judged(call.params.quantities)
        judged = [given for given in explained.outputs if given.field in fields]
        if name in _MADE_AGAIN and any(given.channels is not None for given in judged):
            missing[name] = f"{call.params.method} shows the neurons that stand out, which are others in another run"
            continue
        if not judged:
            what = in_words(fields, "or")
            missing[name] = f"{call.params.method} found no map {what} of this model that lies over the image's pixels"
            continue
        try:
            with clock(name):
                found[name] = judge(call._replace(progress=progress(_STAGES[name])), judged, predicted, options, **more)
        except NetworkError as error:  # the maps are right all the same
            missing[name] = str(error)
    return MapFigures(found, missing)
