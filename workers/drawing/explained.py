"""An image that was explained, as charts and sheets take it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image

from attribution_contracts.jobs import InputImage
from attribution_contracts.parameters.base import MethodParams
from workers.drawing.files import Map
from workers.methods.calls import Figures


class ExplainedImage(NamedTuple):
    """One image, and what its job found."""

    position: int
    """In the request."""
    name: str
    picture: Image.Image
    """As the network saw it."""
    maps: Sequence[Map]
    figures: Figures
    params: MethodParams
    labels: Sequence[str]
    """The model's."""
    said: Mapping[int, str]
    """What is explained of it, in words, by class."""

    def titled(self, target: int) -> str:
        """Image and class, for the top of a chart."""
        return f"{self.name}, class {self.said.get(target, class_name(self.labels, target))}"


class ExplainedModel(NamedTuple):
    """A model that was looked at by itself, and what its job found."""

    name: str
    maps: Sequence[Map]
    figures: Figures
    params: MethodParams
    labels: Sequence[str]
    """The model's."""


def image_name(position: int, given: InputImage) -> str:
    """What an image is called: as the client calls it, or by its place."""
    return given.custom_id or f"image {position}"


def class_name(labels: Sequence[str], index: int) -> str:
    """What a class is called."""
    return labels[index] if index < len(labels) else str(index)
