"""What speaks against an image's result, from its figures: see `attribution_contracts.warnings`."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attribution import Network
from attribution.networks.measures import Check
from attribution.passes.outputs import predicted
from attribution.targets import targets_of
from attribution_contracts.figures.completeness import Completeness
from attribution_contracts.figures.layer_shapley import LayerResult
from attribution_contracts.figures.multiclass_importance import ClassVariation
from attribution_contracts.figures.occlusion import OcclusionCurve
from attribution_contracts.figures.sampling import Sampling
from attribution_contracts.figures.segments import SegmentsOfClass
from attribution_contracts.hints import in_words
from attribution_contracts.methods import Explanation
from attribution_contracts.warnings import ResultWarning, WarningCode
from workers.methods.baselines import Row, baselines_of
from workers.methods.calls import Call, Figures
from workers.quality.chance import Verdict, verdicts

LARGE_GAP = 0.05
"""A map that misses more of what it should add up to is warned of."""
_NEAR = 0.25
"""A baseline that falls behind the image by less than this, of how far the class stands out, is of the class."""
_USUAL_STEPS, _MOST_STEPS, _FAR = 50, 1000, 0.25
"""Points of multi-class importance by integrated gradients, unless told and at most; a miss that takes many more."""
_NOISY = 0.5
"""Of the size of a map's values: a standard error above it says that the map is mostly noise."""
_COMPLETE = ("integrated_gradients", "deeplift")
"""Attributions of multi-class importance that add up; a product with the gradient alone is not made to."""
_LITTLE = 0.1
"""Of what the outputs vary by: attributions that are not made to add up, and hold less of it, say little of them."""


class Change(NamedTuple):
    """What the explained output of a class does between baseline and image."""

    start: float
    end: float
    is_winner_at_start: bool
    """Whether the class wins at the baseline as well."""
    prominence: float
    """How far the class stands out of the mean of all at the image; of a difference, its size there."""
    is_difference: bool = False
    """Whether the class is held against others, and wins where it stands above them."""

    @property
    def is_of_class(self) -> bool:
        """Whether the baseline is of the class already, as much as the image or more: little is left to explain."""
        return self.is_winner_at_start and self.risen < _NEAR * self.prominence

    @property
    def risen(self) -> float:
        """How much more the image is of the class than the baseline."""
        return (self.end - self.start) * (-1 if self.is_difference and self.end < 0 else 1)


def changes_of(
    network: Network, params: Explanation, rows: Sequence[Row], logits: Tensor, call: Call
) -> list[list[Change]]:
    """The change of each image's explained classes from the method's baselines; empty where it has none.

    Args:
        network: What is explained.
        params: Of the method.
        rows: The images.
        logits: Of the images, `(batch, classes)`.
        call: What is explained of them.
    """
    chosen = getattr(params, "baselines", None)
    if params.class_field() != "target" or not chosen:
        return [[] for _ in rows]
    targets = targets_of(call.target, call.against, len(rows), logits.device)
    starts = [predicted(network, start) for start in baselines_of(rows, chosen)]
    raw = torch.stack([start.expand(len(rows), -1) for start in starts]).mean(0)
    before = targets.of(torch.stack([network.explained(start).expand(len(rows), -1) for start in starts]).mean(0))
    outputs = network.explained(logits)
    after, mean = targets.of(outputs), outputs.mean(1) if outputs.shape[1] > 1 else torch.zeros_like(outputs[:, 0])
    is_difference = targets.against is not None
    return [
        [
            Change(
                start := float(before[row, place]),
                end := float(after[row, place]),
                start * end > 0 if is_difference else _wins(raw[row], index),
                abs(end if is_difference else end - float(mean[row])),
                is_difference,
            )
            for place, index in enumerate(classes)
        ]
        for row, classes in enumerate(targets.classes.tolist())
    ]


def _wins(raw: Tensor, index: int) -> bool:
    return bool(raw[index] > 0) if len(raw) == 1 else int(raw.argmax()) == index


def warnings_of(
    params: Explanation,
    figures: Figures,
    changes: Sequence[Change],
    curves: Sequence[OcclusionCurve],
    checks: Sequence[Check],
) -> list[ResultWarning]:
    """All warnings of one image.

    Args:
        params: Of the method.
        figures: What the method says of the image.
        changes: As `changes_of` returns them, one an explained class.
        curves: Where they were asked for.
        checks: What was measured of the model.
    """
    return [
        *_of_method(params),
        *_of_completeness(params, figures, changes),
        *_of_variation(params, figures.wire.get("class_variation")),
        *_of_sampling(params, figures),
        *_of_layers(figures.wire.get("layers", [])),
        *_of_curves(params, curves),
        *figures.warnings,
        *_of_model(checks),
    ]


def _of_method(params: Explanation) -> Iterator[ResultWarning]:
    if params.caution:
        yield _warning(
            WarningCode.FAILS_SANITY_CHECKS,
            f"{params.method}: {params.caution}",
            "do not read a decision off this map: use integrated_gradients, deeplift or layer_shapley",
        )


def _of_completeness(params: Explanation, figures: Figures, changes: Sequence[Change]) -> Iterator[ResultWarning]:
    found: Sequence[Completeness] = figures.wire.get("completeness", [])
    tolerance = getattr(params, "accuracy", getattr(params, "tolerance", None))
    for place, one in enumerate(found):
        change = changes[place] if place < len(changes) else None
        if change is not None and change.is_of_class:
            yield _baseline_of_class(params, one, change)
        elif tolerance is not None and _is_relative(params) and _misses(one.relative, tolerance):
            yield _warning(
                WarningCode.TOLERANCE_MISSED,
                f"a completeness error of {tolerance:.2%} was aimed at and {one.relative:.2%} reached, with "
                f"{one.n_steps} points",
                "raise max_steps, or ask for less: what is missing of the sum is missing in the map",
                one.target,
            )
        elif _misses(one.relative, LARGE_GAP):
            yield _warning(
                WarningCode.COMPLETENESS_LARGE,
                f"the map{_where(one, figures)} misses {one.relative:.2%} of the output's change that it should add "
                "up to",
                _more_points(params),
                one.target,
                _layer_of(one, figures),
            )


def _where(gap: Completeness, figures: Figures) -> str:
    layer = _layer_of(gap, figures)
    return "" if layer is None else f" of layer {layer}"


def _layer_of(gap: Completeness, figures: Figures) -> str | None:
    """Of several layers the one that the gap is of."""
    layers = figures.wire.get("layers", [])
    return next((one.layer for one in layers if (one.target, one.relative) == (gap.target, gap.relative)), None)


def _is_relative(params: Explanation) -> bool:
    return getattr(params, "estimator", "path") == "path"


def _misses(relative: float | None, bound: float) -> bool:
    return relative is not None and relative > bound * (1 + 1e-6)


def _more_points(params: Explanation) -> str:
    match getattr(params, "estimator", "path"):
        case "expected_gradients":
            return "use the estimator path, which is complete: inner layers of this one are biased, with any n_samples"
        case "deeplift" | "feature_maps":
            return "rounding alone does that: check the scale of the model's weights, mean and std"
    names = type(params).model_fields
    ways = [way for name, way in (("tolerance", "ask for a tolerance"), ("n_steps", "raise n_steps")) if name in names]
    return f"{', or '.join(ways)}; deep networks with rectifiers may need many" if ways else "use another method"


def _alike(change: Change) -> str:
    more = "" if change.risen >= 0 else ", and more so"
    if change.is_difference:
        return f"between these classes the network decides alike for the baseline{more}: the difference is"
    return f"the network gives the baseline the same class{more}: its output is"


def _baseline_of_class(params: Explanation, one: Completeness, change: Change) -> ResultWarning:
    error = f"; the map misses {one.relative:.0%} of that change" if _misses(one.relative, LARGE_GAP) else ""
    left = "is left of the class's evidence" if change.risen >= 0 else "the image lacks of the baseline's evidence"
    tried = _tried(params)
    others = [name for name in ("blur", "mean", "noise") if name not in tried] + ["images of other classes"]
    return _warning(
        WarningCode.BASELINE_OF_CLASS,
        f"{_alike(change)} {change.start:.3g} there and {change.end:.3g} for the image{error}",
        f"choose another baseline ({in_words(others, 'or')}): this map explains what {left}; more points do not help",
        one.target,
    )


def _tried(params: Explanation) -> set[str]:
    """The kinds of baselines that a method was given; `uniform` is the noise."""
    kinds = {getattr(given, "kind", None) for given in getattr(params, "baselines", None) or ()}
    return {"noise" if kind == "uniform" else str(kind) for kind in kinds - {None}}


def _of_sampling(params: Explanation, figures: Figures) -> Iterator[ResultWarning]:
    drawn: Sequence[Sampling] = figures.wire.get("sampling", [])
    for one in drawn:
        if _misses(one.relative, _NOISY):
            yield _warning(
                WarningCode.MOSTLY_NOISE,
                f"its values rest on {one.n_draws} draws and are off by about {one.relative:.0%} of their size",
                "raise the number of masks or samples: four times as many halve the error",
                one.target,
            )
    parts: Sequence[SegmentsOfClass] = figures.wire.get("segments", [])
    tolerance = getattr(params, "tolerance", None)
    for part in parts:
        error = max((score.standard_error or 0.0 for score in part.scores), default=0.0)
        if tolerance is not None and error > tolerance:
            yield _warning(
                WarningCode.TOLERANCE_MISSED,
                f"a standard error of {tolerance:.3g} was asked for, of some segment it is {error:.3g}",
                "raise n_samples, or ask for fewer segments",
                part.target,
            )


def _of_variation(params: Explanation, found: ClassVariation | None) -> Iterator[ResultWarning]:
    if found is None:
        return
    complete = found.attributed_variation - found.completeness_delta
    relative = abs(found.completeness_delta / complete) if complete else None
    if getattr(params, "attribution", None) in _COMPLETE:
        if _misses(relative, LARGE_GAP):
            yield _warning(
                WarningCode.COMPLETENESS_LARGE,
                f"the importance misses {relative:.2%} of the variation that it should add up to",
                _steps_for(relative, params),
            )
    elif found.attributed_variation < _LITTLE * found.class_variation:
        yield _warning(
            WarningCode.COMPLETENESS_LARGE,
            f"the importance adds up to {found.attributed_variation:.3g} of the {found.class_variation:.3g} that the "
            "outputs vary by: what it shows is a small part of what tells the classes apart",
            "use the attribution integrated_gradients, which adds up; products with the gradient give biases, and what "
            "rectifiers cut off, to no pixel",
        )


def _steps_for(relative: float | None, params: Explanation) -> str:
    if getattr(params, "attribution", None) == "deeplift":
        return "rounding alone does that: check the scale of the model's weights, mean and std"
    steps = getattr(params, "n_steps", None) or _USUAL_STEPS
    wanted = min(steps * (4 if (relative or 0.0) < _FAR else 8), _MOST_STEPS)
    return (
        f"raise n_steps, for example to {wanted}" if wanted > steps else "use the attribution deeplift, which adds up"
    )


def _of_layers(layers: Sequence[LayerResult]) -> Iterator[ResultWarning]:
    """Of each class whose maps of layers show less than half of what their layers say."""
    for target in dict.fromkeys(one.target for one in layers):
        little = [one for one in layers if one.target == target and one.shows_little]
        if little:
            told = ", ".join(f"{one.layer} {one.placed:+.3g} of {one.sum:+.3g}" for one in little)
            beside = next(one.without_place.what for one in little if one.without_place is not None)
            yield _warning(
                WarningCode.MAP_SHOWS_LITTLE,
                f"the patches have less than half of what the layer says: {told}. The rest is of the {beside}, without "
                "a place in the image",
                "do not read from these maps where the decision comes from: choose earlier layers, or the image itself "
                "(input)",
                target,
                little[0].layer if len(little) == 1 else None,
            )


def _of_curves(params: Explanation, curves: Sequence[OcclusionCurve]) -> Iterator[ResultWarning]:
    for found in verdicts(curves):
        layer = "" if found.layer is None else f" of layer {found.layer}"
        if not found.is_telling:
            yield _warning(
                WarningCode.CURVES_UNINFORMATIVE,
                f"the probability of the class stays between {found.least:.3f} and {found.most:.3f}, whichever pixels "
                f"are replaced: the curves say neither good nor bad of {found.quantity}{layer}",
                "replace pixels by something else (quality.occlusion.baseline, --occlusion-baseline: blur, mean, "
                "uniform, white), or explain a class that the network sees in the image",
                found.target,
                found.layer,
            )
            continue
        if found.is_of_class:
            yield _warning(
                WarningCode.BASELINE_OF_CLASS,
                f"with every pixel replaced the class still has a probability of {found.replaced:.3f}, and "
                f"{found.whole:.3f} for the image: in the curves, what replaces pixels is evidence of the class",
                "replace pixels by something that is of no class (quality.occlusion.baseline, --occlusion-baseline: "
                "blur, mean, uniform, white), and do not judge the map by these curves",
                found.target,
                found.layer,
            )
        if not found.is_better:
            yield _warning(
                WarningCode.NO_BETTER_THAN_RANDOM,
                f"{_compared_with_chance(found)} in the order of {found.quantity}{layer}",
                f"do not read places off this map: see the curves, and try {_elsewhere(params)}",
                found.target,
                found.layer,
            )


def _compared_with_chance(found: Verdict) -> str:
    """What was measured of an order that is no better than chance."""
    if found.directions == ("deletion",):
        return (
            f"random orders leave an area of {-found.by_chance:.3f} under the curve of the prediction as pixels go, 1 "
            f"of 20 less than {-found.needed:.3f}; it is {-found.figure:.3f}"
        )
    return (
        f"random orders leave {found.by_chance:.3f} between the areas under the curves of the prediction as pixels "
        f"come back and as they go, 1 of 20 more than {found.needed:.3f}; it is {found.figure:.3f}"
    )


def _elsewhere(params: Explanation) -> str:
    """What may show places, of what was not tried."""
    tried = _tried(params)
    ways = ["a blurred baseline"] if tried and "blur" not in tried else []
    if params.method != "layer_shapley":
        ways.append("layer_shapley, whose last layers show places")
    return ", or ".join(ways) or "another baseline (mean, white, or images of other classes)"


def _of_model(checks: Sequence[Check]) -> Iterator[ResultWarning]:
    for check in checks:
        if check.verdict == "noted":
            yield _warning(
                WarningCode.MODEL_NOTED,
                f"{check.name}: {check.detail}",
                "see checks in the model's report; where it is not as you mean it, register a corrected version",
            )


def _warning(
    code: WarningCode, detail: str, advice: str, target: int | None = None, layer: str | None = None
) -> ResultWarning:
    return ResultWarning(code=code, target=target, layer=layer, detail=detail, advice=advice)
