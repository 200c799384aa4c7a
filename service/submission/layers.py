"""The layers that a job explains, checked against the model; the engine reads a choice in the same way."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate

from attribution_contracts.hints import closest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import Explanation
from attribution_contracts.models import LayerInfo, ModelReport
from attribution_contracts.parameters.activation_maps import ActivationMapsParams
from attribution_contracts.parameters.cam import CamParams
from attribution_contracts.parameters.layers import Concept
from attribution_contracts.parameters.lrp import LrpParams
from attribution_contracts.problems import FieldError
from service.gateway.ready_models import ReadyModel

_OF_TRANSFORMERS = ("cp_lrp", "attn_lrp")
_NAMED = 5
"""Layers that a sentence names."""
INPUT = "input"
"""The image itself, as a layer in front of all others."""


def chosen_layers(
    choice: str | Sequence[str], layers: Sequence[LayerInfo], stages: Sequence[str] | None = None
) -> set[str]:
    """The layers that a choice means: a name if there is such, else a kind, else a pattern.

    Args:
        choice: One or several of them, or a word.
        layers: Of the model.
        stages: What `stages` means; all of them where the model's report is older than the word.
    """
    if choice == "last":
        return set(list(stages or [INPUT])[-1:])
    named = _Named(layers, stages or None)
    return {name for one in ([choice] if isinstance(choice, str) else choice) for name in named.meant(one)}


def wrong_layers(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Choices that mean no layer."""
    named = _Named(model.report.layers)
    for pointer, explanation in request.asked_explanations().items():
        yield from _wrong_relevance(pointer, explanation, model.report)
        yield from _without_places(pointer, explanation, model.report)
        yield from _wrong_channels(pointer, explanation, model)
        yield from _wrong_concept(f"{pointer}/concept", getattr(explanation, "concept", None), model.report.layers)
        for field, choices in _chosen(explanation):
            for index, choice in enumerate(choices):
                if not named.meant(choice):
                    hint = closest(choice, [*named.names, *sorted(named.kinds)])
                    detail = f"{choice!r} is no layer, kind or pattern of layers of the model; {hint}"
                    yield FieldError(pointer=f"{pointer}/{field}/{index}", detail=detail)


def _wrong_relevance(pointer: str, explanation: Explanation, report: ModelReport) -> Iterator[FieldError]:
    """Rules of layers for a network that needs those of transformers, and what these do not have."""
    if not isinstance(explanation, LrpParams) or report.relevance_rule != "cp_lrp":
        return
    if explanation.rule is not None and explanation.rule not in _OF_TRANSFORMERS:
        given = explanation.rule if isinstance(explanation.rule, str) else "a list of rules of layers"
        detail = f"{given} does not apply to a network that attends or normalises: use cp_lrp (the default) or attn_lrp"
        yield FieldError(pointer=f"{pointer}/rule", detail=detail)
    for field in ("layers", "concept"):
        if getattr(explanation, field) is not None:
            detail = f"cp_lrp and attn_lrp hand relevance to the image alone: leave {field} out, or use layer_shapley"
            yield FieldError(pointer=f"{pointer}/{field}", detail=detail)


def _without_places(pointer: str, explanation: Explanation, report: ModelReport) -> Iterator[FieldError]:
    """Layers that were chosen one by one for a map and have no place in the image."""
    if not isinstance(explanation, ActivationMapsParams | CamParams):
        return
    if isinstance(explanation.layers, str) or report.mapped is None:
        return
    named = _Named(report.layers)
    for index, choice in enumerate(explanation.layers):
        without = [name for name in named.meant(choice) if name not in report.mapped]
        if without:
            detail = (
                f"{_few(without)} cannot be shown as a map: without height and width, or read by nobody behind it; "
                f'those that can are {_few(report.mapped)}; "all" takes all of them'
            )
            yield FieldError(pointer=f"{pointer}/layers/{index}", detail=detail)


def _wrong_channels(pointer: str, explanation: Explanation, model: ReadyModel) -> Iterator[FieldError]:
    """Neurons that a convolution does not have; where those of other layers lie is the worker's to say."""
    if not isinstance(explanation, ActivationMapsParams) or explanation.channels is None:
        return
    chosen, last = (
        chosen_layers(explanation.layers, model.report.layers, model.report.stages),
        max(explanation.channels),
    )
    for layer in model.report.layers:
        if layer.name in chosen and layer.kind == "conv" and layer.shape and last >= layer.shape[0]:
            detail = f"{layer.name} has the channels 0 to {layer.shape[0] - 1}, given {last}"
            yield FieldError(pointer=f"{pointer}/channels", detail=detail)


def _few(names: Sequence[str]) -> str:
    """Some layers by name; of many the last ones, where units stand for things."""
    more = f"{len(names) - _NAMED} others and " if len(names) > _NAMED else ""
    return f"{more}{', '.join(names[-_NAMED:])}"


def _chosen(explanation: Explanation) -> Iterator[tuple[str, list[str]]]:
    """Each list of choices of an explanation, with the field that it is in."""
    for field in ("layers", "raw"):
        choices = getattr(explanation, field, None)
        if isinstance(choices, list):
            yield field, choices
    if isinstance(explanation, LrpParams) and isinstance(explanation.rule, list):
        for index, one in enumerate(explanation.rule):
            yield f"rule/{index}/layers", one.layers


def _wrong_concept(pointer: str, concept: Concept | None, layers: Sequence[LayerInfo]) -> Iterator[FieldError]:
    if concept is None:
        return
    layer = next((one for one in layers if one.name == concept.layer), None)
    if layer is None:
        hint = closest(concept.layer, [one.name for one in layers])
        yield FieldError(pointer=f"{pointer}/layer", detail=f"{concept.layer!r} is no layer of the model; {hint}")
    elif layer.shape and max(concept.channels) >= layer.shape[0]:
        detail = f"{max(concept.channels)} is no channel of {layer.name}, which has 0 to {layer.shape[0] - 1}"
        yield FieldError(pointer=f"{pointer}/channels", detail=detail)


class _Named:
    """A model's layers by name and by kind."""

    def __init__(self, layers: Sequence[LayerInfo], stages: Sequence[str] | None = None) -> None:
        self._stages = stages
        self.names = dict.fromkeys([INPUT, *(layer.name for layer in layers)])
        self.kinds: dict[str, list[str]] = {}
        for layer in layers:
            self.kinds.setdefault(layer.kind, []).append(layer.name)

    def meant(self, choice: str) -> list[str]:
        """The layers of one choice."""
        if choice == "all":
            return list(self.names)
        if choice == "stages":
            return list(self.names if self._stages is None else self._stages)
        if choice in self.names:
            return [choice]
        if choice in self.kinds:
            return self.kinds[choice]
        if not set(choice) & set("*?["):
            return []
        fits = re.compile(translate(choice)).match
        return [name for name in self.names if fits(name)]
