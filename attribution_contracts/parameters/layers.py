"""Choices of layers, for every method by layers."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, Tag

from attribution_contracts.base import Wire, form_of

Channel = Annotated[int, Field(ge=0, lt=1_000_000, strict=True)]
LayerChoice = Annotated[str, StringConstraints(min_length=1, max_length=200)]
MAX_PATTERNS, MAX_WILDCARDS = 32, 8
"""Patterns among the choices of layers, and wildcards in each: all are held against every layer's name."""


def _require_few_patterns(choices: list[str]) -> list[str]:
    patterns = 0
    for choice in choices:
        wildcards = sum(map(choice.count, "*?["))
        patterns += wildcards > 0
        if wildcards > MAX_WILDCARDS:
            raise ValueError(
                f"a pattern has {wildcards} wildcards, at most {MAX_WILDCARDS} are accepted: {choice[:60]!r}"
            )
    if patterns > MAX_PATTERNS:
        raise ValueError(f"{patterns} are patterns, at most {MAX_PATTERNS} are accepted: use fewer, or names of layers")
    return choices


FEW_PATTERNS = AfterValidator(_require_few_patterns)
"""Of a list of choices, whose length comes first: those that are quickly held against every layer's name."""
SomeLayers = Annotated[list[LayerChoice], Field(min_length=1, max_length=1000), FEW_PATTERNS, Tag("list")]
"""Layers by name, kind (`conv`) or pattern (`features.*`), beside the words of a method."""

AnyLayers = Annotated[
    Annotated[Literal["last", "stages", "all"], Tag("word")] | SomeLayers,
    form_of(
        ("last", "stages", "all"),
        {},
        'expected "last", "stages", "all" or a list of names, kinds and patterns of layers',
    ),
]
"""The last layer with places; stem, ends of stages and last convolution; all layers; or some."""


class Concept(Wire):
    """Channels of a layer through which alone a share may reach the image: what, and not only where."""

    layer: LayerChoice
    """The layer, by its name."""
    channels: Annotated[list[Channel], Field(min_length=1, max_length=4096)]
    """Its channels, counted from 0."""
