"""Which classes an explanation is of, and which of their outputs."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

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


class Nearest(Wire):
    """The classes whose logits are closest to that of the explained class: what it is most easily taken for."""

    nearest: Annotated[int, Field(ge=1, le=1000, strict=True)]
    """How many of them; their mean is what the class is held against."""
    weight: Annotated[float, Field(gt=0, le=10, strict=True)] = 1.0
    """What the mean counts: 1 explains the difference, less keeps some of what the classes have in common."""


def _form_of_against(value: object) -> str | None:
    if isinstance(value, Nearest | dict):
        return "Nearest"
    if isinstance(value, bool):
        return None
    return "name" if isinstance(value, str) else "index" if isinstance(value, int) else None


Against = Annotated[
    Annotated[ClassIndex, Tag("index")] | Annotated[ClassName, Tag("name")] | Annotated[Nearest, Tag("Nearest")],
    Discriminator(
        _form_of_against,
        custom_error_type="form",
        custom_error_message='expected a class (index or name), "runner_up", "label" or {"nearest": number}',
    ),
]
"""What a class is held against: a class by index or name; `runner_up`, the highest other logit; `label`, the class that
the image truly has; or the nearest ones. A class that is called like one of the two words is chosen by index."""

AGAINST_WORDS = ("runner_up", "label")
"""What of `against` stands for another class of each image."""

_AGAINST = """Explain how far each class stands above this one: the difference of their outputs, in place of the output.
Of several classes the one that they are held against is left out."""


class ExplainedClasses(TargetClasses):
    """Chosen classes, by index or by name, each by itself or against another."""

    against: Annotated[Against | None, Field(description=_AGAINST)] = None


class ExplainedTopK(TargetTopK):
    """The classes with the highest logits of each image, each by itself or against another."""

    against: Annotated[Against | None, Field(description=_AGAINST)] = None


class PredictedAgainst(Wire):
    """The predicted class of each image, against another."""

    against: Annotated[Against, Field(description=_AGAINST)]


Target = Annotated[
    Annotated[Literal["predicted", "all"], Tag("word")]
    | Annotated[ExplainedClasses, Tag("ExplainedClasses")]
    | Annotated[ExplainedTopK, Tag("ExplainedTopK")]
    | Annotated[PredictedAgainst, Tag("PredictedAgainst")],
    form_of(
        ("predicted", "all"),
        {"classes": ExplainedClasses, "top_k": ExplainedTopK, "against": PredictedAgainst},
        'expected "predicted", "all", {"classes": [index or name, ...]} or {"top_k": number}, each of these two with '
        '"against" or without, or {"against": ...}',
    ),
]


def against_of(target: object) -> Against | None:
    """What the classes of a target are held against; nothing where they are explained by themselves."""
    return getattr(target, "against", None)


ExplainedOutput = Literal["logit", "probability", "log_probability"]
