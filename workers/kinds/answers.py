"""What a result says of each image."""

from collections.abc import Sequence

from attribution_contracts.problems import ErrorCode, Problem, problem
from attribution_contracts.results import ImageResult
from workers.drawing.files import Drawn
from workers.explaining.done import Done
from workers.models.inputs import Refused


def image_result(done: Done, drawn: Drawn) -> ImageResult:
    """One that was explained, with its files."""
    return ImageResult(
        index=done.row.position,
        custom_id=done.row.given.custom_id,
        sha256=done.row.sha256,
        original=list(done.row.view.original),
        box=list(done.row.view.box),
        prediction=done.prediction,
        label=done.label,
        targets=done.targets,
        warnings=list(done.figures.warnings),
        **done.figures.wire,
        occlusion=done.occlusion,
        deletions=done.deletions,
        localization=done.localization,
        localization_missing=done.localization_missing,
        artifacts=drawn.of_image(done.row.position),
    )


def failed_image(refused: Refused) -> ImageResult:
    """One that was not."""
    return ImageResult(
        index=refused.position, custom_id=refused.given.custom_id, sha256=refused.sha256, error=refused.error
    )


def nothing_explained(refused: Sequence[Refused]) -> Problem:
    """Why a job of which no image was explained failed."""
    reasons = "; ".join(f"image {item.position}: {item.error.detail}" for item in refused[:5])
    more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
    retryable = any(item.error.retryable for item in refused)
    return problem(ErrorCode.NO_IMAGE_EXPLAINED, reasons + more, retryable=retryable)
