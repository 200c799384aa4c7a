"""Which classes an explanation is of, and which of their outputs."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from attribution_contracts.base import ClassIndex, ClassName, Wire, form_of


class TargetClasses(Wire):
    """Chosen classes, by index or by name."""

    classes: Annotated[list[ClassIndex | ClassName], Field(min_length=1, max_length=1000)]
    """Indices of outputs, or names from the model's labels."""


class TargetTopK(Wire):
    """The classes with the highest logits of each image."""

    top_k: Annotated[int, Field(ge=1, le=1000, strict=True)]
    """How many classes, the highest first."""


class TargetMinProbability(Wire):
    """The classes of each image with a probability above a bound; the two most probable ones always belong."""

    min_probability: Annotated[float, Field(ge=0, lt=1, strict=True)]
    """How many classes that is differs widely between images: prefer `top_k`."""


Target = Annotated[
    Annotated[Literal["predicted", "all"], Tag("word")]
    | Annotated[TargetClasses, Tag("TargetClasses")]
    | Annotated[TargetTopK, Tag("TargetTopK")],
    form_of(
        ("predicted", "all"),
        {"classes": TargetClasses, "top_k": TargetTopK},
        'expected "predicted", "all", {"classes": [index or name, ...]} or {"top_k": number}',
    ),
]
ExplainedOutput = Literal["logit", "probability", "log_probability"]
