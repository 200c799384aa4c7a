"""Multi-class importance for a job."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

import attribution
from attribution.class_sets import Classes
from attribution_contracts.baselines import BlackBaseline
from attribution_contracts.figures.multiclass_importance import ClassVariation, PixelFigures
from attribution_contracts.parameters.multiclass_importance import Compared, MulticlassImportanceParams, PixelAt
from attribution_contracts.targets import TargetClasses, TargetMinProbability, TargetTopK
from workers.methods.adapters import require_finite
from workers.methods.baselines import baselines_of
from workers.methods.calls import Call, Explained, Figures, MethodOutput

_ALONE = 0.9
"""Share of the progress that the maps take where pixels follow."""


def multiclass_importance(call: Call) -> Explained:
    """Adapts `attribution.multiclass_importance`, and `attribution.pixel_covariation` where pixels are chosen.

    Raises:
        NetworkError: The importance is not finite.
    """
    params: MulticlassImportanceParams = call.params
    shared = _options(call, params)
    found = attribution.multiclass_importance(
        call.network,
        call.inputs,
        mode=params.mode,
        n_directions=params.n_directions,
        n_signs=params.n_signs,
        radius=params.radius,
        threshold=params.threshold,
        generator=[row.generator("signs") for row in call.rows],
        progress=_part_of(call.progress, 0.0, _ALONE if params.pixels else 1.0),
        **shared,
    )
    require_finite("the network's gradients at the image", found.importance)
    fields = (*params.quantities, "standard_error", "individual_low", "individual_high")
    maps = {field: getattr(found, field) for field in fields}
    outputs = [MethodOutput(field, values) for field, values in maps.items() if values is not None]
    figures = [_figures(found, row) for row in range(len(call.rows))]
    if not params.pixels:
        return _explained(outputs, figures, found.chunk_size, shared["classes"])
    pixels = attribution.pixel_covariation(
        call.network,
        call.inputs,
        [(at.channel, at.row, at.column) if isinstance(at, PixelAt) else at for at in params.pixels],
        progress=_part_of(call.progress, _ALONE, 1.0),
        **shared,
    )
    outputs += [
        MethodOutput("pixel_covariation", rows, part=f"pixel-{number}")
        for number, rows in enumerate(pixels.covariation.unbind(1))
    ]
    figures = [given.model_copy(update={"pixels": _pixel_figures(pixels, row)}) for row, given in enumerate(figures)]
    return _explained(outputs, figures, min(found.chunk_size, pixels.chunk_size), shared["classes"])


def _explained(
    outputs: list[MethodOutput], found: list[ClassVariation], chunk_size: int, classes: Classes
) -> Explained:
    return Explained(outputs, [Figures(wire={"class_variation": one}) for one in found], chunk_size, classes)


def _options(call: Call, params: MulticlassImportanceParams) -> dict[str, Any]:
    """What both functions of the engine take."""
    options: dict[str, Any] = {"attribution": params.attribution, "classes": _classes(params.classes)}
    if params.attribution in {"integrated_gradients", "deeplift"}:
        options["baseline"] = baselines_of(call.rows, params.baselines or [BlackBaseline()])
    if params.attribution == "integrated_gradients":
        options |= {"n_steps": params.n_steps, "quadrature": params.quadrature}
    return options | {"epsilon": params.epsilon}


def _classes(given: Compared) -> Classes:
    match given:
        case TargetTopK(top_k=n):
            return attribution.TopK(n)
        case TargetMinProbability(min_probability=p):
            return attribution.MinProbability(p)
        case TargetClasses(classes=classes):
            return [int(index) for index in classes]
    return "all"


def _part_of(progress: Callable[[int, int], None], start: float, end: float) -> Callable[[int, int], None]:
    """The progress of one of two steps as that of both, in thousandths."""

    def part(done: int, total: int) -> None:
        progress(int(1000 * (start + (end - start) * done / max(total, 1))), 1000)

    return part


def _figures(found: attribution.MulticlassImportance, row: int) -> ClassVariation:
    return ClassVariation(
        classes=[index for index in found.classes[row].tolist() if index >= 0],
        class_variation=float(found.class_variation[row]),
        attributed_variation=float(found.attributed_variation[row]),
        completeness_delta=float(found.completeness_delta[row]),
        mode=found.mode,
        n_rows=int(found.n_rows[row]),
        relative_error=_known(found.relative_error, row),
        relative_error_at_most=_known(found.relative_error_at_most, row),
        correlation=_known(found.correlation, row),
        correlation_at_least=_known(found.correlation_at_least, row),
        n_draws=None if found.n_draws is None else int(found.n_draws[row]),
    )


def _known(values: Tensor | None, row: int) -> float | None:
    value = math.nan if values is None else float(values[row])
    return value if math.isfinite(value) else None


def _pixel_figures(found: attribution.PixelCovariation, row: int) -> list[PixelFigures]:
    return [
        PixelFigures(
            channel=channel,
            row=at,
            column=column,
            importance=float(found.importance[row, number]),
            five_numbers=found.five_numbers[row, number].tolist(),
        )
        for number, (channel, at, column) in enumerate(found.pixels[row].tolist())
    ]
