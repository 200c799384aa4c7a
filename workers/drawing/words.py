"""What figures of a result mean, in sentences."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from attribution_contracts.figures.activation_maps import LayerActivations
from attribution_contracts.figures.completeness import Completeness
from attribution_contracts.figures.decomposition import DecompositionResult
from attribution_contracts.figures.hidden_parts import HiddenParts
from attribution_contracts.figures.multiclass_importance import ClassVariation
from attribution_contracts.figures.occlusion import OcclusionCurve
from attribution_contracts.figures.relevance import Conservation
from attribution_contracts.figures.sampling import Sampling
from attribution_contracts.results import ImageResult, TargetScore


class _OfClass(Protocol):
    @property
    def target(self) -> int | None: ...


Figure = TypeVar("Figure", bound=_OfClass)

ENDS = {"importance": ("blurs the classes", "tells them apart")}
"""What negative and positive values of maps of no single class speak for."""
MEANINGS = {
    "activation": "what the neuron puts out at each place",
    "std": "how differently a pixel speaks for the classes",
    "importance": "what pixels tell the classes apart together",
    "individual": "what each pixel tells them apart by itself",
    "covariation": "what it does together with all others",
    "rank": "1 less the share of the image that enters before a pixel's region: the first region is 1",
    "gain": "the mean attribution of what a region brings",
    "shown_above_mean": "the output where a pixel is shown, above its mean over the pixels",
    "shown": "the mean output where a pixel is shown",
    "silhouette": "what of the deviation stands out of its surroundings",
    "occlusion": "what the output loses where a part is hidden",
    "feature_map": "what the feature map loses where a part is hidden",
}
"""Quantities whose names do not say what they are, by name."""
PER_PART = {
    ("segment_shapley", "attributions"): "a pixel shows the value of its segment divided by the pixels in it",
    ("segment_shapley", "standard_error"): "the standard error of a segment divided by the pixels in it",
}
"""Quantities of methods whose values are of parts and not of pixels."""
_AGAINST = (("random", "random order"), ("best", "the best order of patches that was found"))
"""Orders of curves that a map's is told beside."""
_WORTH_TELLING = 0.05
"""Of what attributions should add up to, that they may be off by without a word."""


def amount(value: float) -> str:
    """A sum, which may be large: whole from a hundred, with three digits below."""
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "\N{MINUS SIGN}")


def percent(share: float | None, decimals: int = 1) -> str:
    """A share as text."""
    return "-" if share is None else f"{share:.{decimals}%}".replace("%", " %")


def number(value: float) -> str:
    """Three digits, with the sign of a number on a signed scale."""
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def of_class(image: ImageResult, index: int) -> Iterator[str]:
    """What the result says of the map of one class."""
    scores = {target.index: target for target in image.targets}
    for gap in _of(index, image.completeness):
        yield from _changes(scores[index])
        yield _layers_add_up(gap, _unplaced(image, index)) if image.layers else _adds_up(gap, scores[index].sum)
    for went in _of(index, image.conservation):
        yield _went(went)
    for found in _of(index, image.decomposition):
        yield from _decomposed(found)
    for drawn in _of(index, image.sampling):
        yield from _sampled(drawn)
    for segments in _of(index, image.segments):
        yield f"{_capital(segments.sentence(scores[index].said))}."
    for regions in _of(index, image.regions):
        yield f"{_capital(regions.sentence(scores[index].said))}."
    if image.hidden_parts is not None:
        yield from _hidden(image.hidden_parts, index, scores[index].said)
    yield from _occluded(image, index)
    yield from _judged(image, index)


def _hidden(parts: HiddenParts, index: int, name: str) -> Iterator[str]:
    return (f"{_capital(one.sentence(name, parts.fill))}." for one in _of(index, parts.numbers))


def _of(index: int, figures: Sequence[Figure]) -> Iterator[Figure]:
    return (one for one in figures if one.target == index)


def of_image(image: ImageResult) -> Iterator[str]:
    """What the result says of the maps that are of no class."""
    if image.class_variation is not None:
        yield from _varies(image.class_variation)
    yield from map(_stands_out, image.activations)
    if image.inversion is not None:
        yield image.inversion.sentence
    if image.localization_missing is not None:
        yield f"Where the maps lie is not told: {image.localization_missing}."
    if image.hidden_parts is not None:
        fill = image.hidden_parts.fill
        yield from (f"{_capital(rise.sentence(fill))}." for rise in image.hidden_parts.rises)
        yield from (
            f"{_capital(number.sentence('', fill))}." for number in image.hidden_parts.numbers if number.target is None
        )


def _stands_out(layer: LayerActivations) -> str:
    first, *others = (layer.sums[channel] for channel in layer.order[:2])
    next_one = f", the next is {amount(others[0])}" if others else ""
    of_all = f"Of the {len(layer.sums):,} neurons of {layer.layer}"
    return f"{of_all} channel {layer.order[0]} stands out most: its map adds up to {amount(first)}{next_one}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _changes(score: TargetScore) -> Iterator[str]:
    """Where what is explained begins, which a sum alone does not say."""
    if score.baseline_output is not None:
        what = "difference" if score.against else "output"
        yield (
            f"The {what} is {number(score.output)} for the image and {number(score.baseline_output)} for the baseline: "
            "what is explained is the change from there."
        )


def _adds_up(gap: Completeness, total: float) -> str:
    difference = total - gap.convergence_delta
    steps = f", {gap.n_steps:,} steps" if gap.n_steps > 1 else ""
    told = f"(error {percent(gap.relative, 2)}{steps})"
    if gap.relative is None or difference == 0:
        return "Image and baseline have the same output: there is no difference that the map could explain."
    share = total / difference
    if gap.relative >= 1:
        return f"The map does not explain the difference between image and baseline, but {share:.3g} times it {told}."
    if share > 1 and percent(share) != percent(1.0):
        return f"The map claims {percent(share - 1)} more than the difference between image and baseline {told}."
    return f"The map explains {percent(min(share, 1.0))} of the difference between image and baseline {told}."


def _sampled(found: Sampling) -> Iterator[str]:
    if found.relative is not None and found.n_draws:
        yield (
            f"The map rests on {found.n_draws:,} random draws: its values are off by about {percent(found.relative)} "
            "of their size."
        )


def _unplaced(image: ImageResult, index: int) -> str | None:
    """What no map of a layer shows, in words; nothing where maps show all of it."""
    found = (one.without_place for one in _of(index, image.layers) if one.without_place is not None)
    return next((one.what for one in found), None)


def _layers_add_up(gap: Completeness, unplaced: str | None) -> str:
    if gap.relative is None:
        return "No layer that every path runs through was explained: how far they add up is not known."
    counted = "" if unplaced is None else f", with the {unplaced}, which no map shows"
    return (
        f"Each layer that every path runs through explains the difference between image and background but for "
        f"{percent(gap.relative, 2)} at most{counted}."
    )


def _went(one: Conservation) -> str:
    tokens = one.absorbed_by_tokens + one.absorbed_by_embeddings
    beside = f", tokens beside the patches and positions {number(tokens)}" if tokens else ""
    return (
        f"Of the relevance {number(one.explained)}, {number(one.sum)} reaches the image; biases absorb "
        f"{number(one.absorbed_by_biases)}, epsilon {number(one.absorbed_by_epsilon)}{beside}."
    )


def _decomposed(found: DecompositionResult) -> Iterator[str]:
    others = found.logit - found.decomposed_logit
    yield (
        f"The {len(found.features)} influential features make {found.decomposed_logit:.2f} of the logit "
        f"{found.logit:.2f}; all other features add {number(others)}."
    )
    if found.maps_missing is not None:
        yield f"There are no maps: {found.maps_missing}."


def _varies(found: ClassVariation) -> Iterator[str]:
    yield (
        f"The outputs of {len(found.classes):,} classes vary by {found.class_variation:.3g}; "
        f"the importance adds up to {found.attributed_variation:.3g}."
    )
    complete = found.attributed_variation - found.completeness_delta
    if abs(complete - found.class_variation) > _WORTH_TELLING * abs(complete):
        yield f"From the baseline to the image they vary by {complete:.3g}."
    if abs(found.completeness_delta) > _WORTH_TELLING * abs(complete):
        yield f"Complete attributions would add up to {complete:.3g}: these give biases to no pixel, or are not exact."
    if found.relative_error is None:
        return
    if found.relative_error == 0:
        passes = f"{found.n_rows:,} backward pass{'' if found.n_rows == 1 else 'es'}"
        yield f"Nothing was drawn at random: the maps are what these attributions give, from {passes}."
        return
    most = found.relative_error_at_most
    bound = "" if most is None else f", in 95 % of all runs by {percent(most)} at most"
    sketch = f"The maps are a sketch from {found.n_rows:,} backward passes"
    yield f"{sketch}: std is off by about {percent(found.relative_error)}{bound}."


def _judged(image: ImageResult, target: int) -> Iterator[str]:
    """What was measured of the maps: patches, places, noise and random weights."""
    name = _name(image, target)
    return (f"{_capital(one.sentence(name))}." for one in image.judged if one.target == target)


def _name(image: ImageResult, target: int) -> str:
    return next((score.said for score in image.targets if score.index == target), "the predicted class")


def _occluded(image: ImageResult, target: int) -> Iterator[str]:
    """How the order of the map fares against chance."""
    for direction, how in (("deletion", "go"), ("insertion", "come back")):
        curves = [curve for curve in image.occlusion if (curve.target, curve.direction) == (target, direction)]
        areas = {curve.order: curve.prediction_area for curve in curves}
        ordered = sorted(
            (curve for curve in curves if curve.order == "map"),
            key=lambda curve: curve.prediction_area,
            reverse=direction == "insertion",
        )
        if ordered:
            against = "".join(f", in {name} {percent(areas[order])}" for order, name in _AGAINST if order in areas)
            better = "less" if direction == "deletion" else "more"
            yield (f"As pixels {how} in the order of {_followed(ordered)}{against} ({better} is better).")


def _followed(ordered: Sequence[OcclusionCurve]) -> str:
    """What is left in the order of a map, or of the best and the worst of several layers' maps."""
    [best, *_, worst] = [*ordered, ordered[-1]]
    keeps = "the class keeps a mean probability of"
    if len(ordered) == 1:
        layer = "" if best.layer is None else f" of layer {best.layer}"
        return f"the map{layer}, {keeps} {percent(best.prediction_area)}"
    return (
        f"a layer's map, {keeps} {percent(best.prediction_area)} (layer {best.layer}, the best of {len(ordered)}) to "
        f"{percent(worst.prediction_area)} (layer {worst.layer})"
    )
