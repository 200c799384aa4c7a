"""What the parameters of every method have."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import model_validator

from attribution_contracts.base import Wire

Takes = Literal["images", "none", "data set"]


class Scale(NamedTuple):
    """How much an image asks for: classes that are explained, all classes, layers, baselines, and pixels."""

    targets: int
    classes: int
    layers: int
    baselines: int
    sides: tuple[int, int] = (1, 1)
    """Height and width of the image as the network sees it."""
    is_difference: bool = False
    """Whether a class is held against others: such a difference may be small, and takes more points."""


class MethodParams(Wire):
    """A method's parameters, and what the catalogue and the checks of a request want to know of the method."""

    version: ClassVar[int]
    """Grows when the same parameters give other numbers; answers of an older version are not reused."""
    use: ClassVar[str]
    """Whom it is for, and what it shows them."""
    guarantee: ClassVar[str]
    """Exact, unbiased with a standard error, or heuristic; and what of."""
    cost_class: ClassVar[str]
    """What a job costs, in passes through the network."""
    caution: ClassVar[str] = ""
    """What published tests say against the method; a warning of every result. Nothing where there is nothing."""
    takes: ClassVar[Takes] = "images"
    """What it explains besides a model: the images of a request, nothing, or a data set as a whole (a task)."""
    takes_model: ClassVar[bool] = True
    makes_maps: ClassVar[bool] = True
    """Whether what it makes are maps of images, which figures can be taken of and which show beside those of others."""
    has_engine: ClassVar[bool] = True
    """Whether it explains by itself; the self-test does not, nor does the word for a model's default method."""

    @classmethod
    def class_field(cls) -> str | None:
        """The field that chooses classes: a target to explain, or the classes compared; nothing without any."""
        return next((name for name in ("target", "classes") if name in cls.model_fields), None)

    @model_validator(mode="before")
    @classmethod
    def _require_own_choice_of_classes(cls, data: object) -> object:
        own = cls.class_field()
        if own is None or not isinstance(data, Mapping):
            return data
        if own == "classes" and "target" in data:
            raise ValueError(
                "target: the method compares classes with each other and has no target; give classes instead, for "
                'example {"classes": ["cat", "dog"]}'
            )
        if own == "target" and "classes" in data:
            raise ValueError('classes: the method explains a target; give target, for example {"classes": ["cat"]}')
        return data

    @property
    def also_uses(self) -> tuple[str, ...]:
        """Ids of other methods whose rules it follows as asked for."""
        return ()

    def filled(self) -> dict[str, Any]:
        """All parameters as JSON, those that were left out as what is taken for them."""
        return self.model_dump(mode="json")

    def passes(self, scale: Scale) -> int:
        """Forward and backward passes of one image through the network, at most."""
        return 1 + scale.targets

    def usual_passes(self, scale: Scale) -> int:
        """The same on most networks, where a method stops once it is accurate enough."""
        return self.passes(scale)

    def has_map(self, shape: Sequence[int] | None) -> bool:
        """Whether a layer whose values have this shape, as far as it is known, has a map."""
        return shape is None or len(shape) == 3

    @property
    def planes(self) -> int:
        """How many maps of each quantity there are: several where single neurons are shown."""
        return 1

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image (class, layer), that which stands for the method first; none unless told."""
        return ()
