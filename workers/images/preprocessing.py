"""From an image to the network's input, as the model's specification says."""

from typing import NamedTuple, Self

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from attribution_contracts.models import Preprocessing
from workers.images.decoding import MAX_PIXELS
from workers.problems import InvalidImage


class View(NamedTuple):
    """What part of the photograph the network sees."""

    original: tuple[int, int]
    """Height and width of the photograph, upright."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the part, in pixels of the photograph."""

    @classmethod
    def whole(cls, height: int, width: int) -> Self:
        """All of it."""
        return cls((height, width), (0, 0, width, height))


class Prepared(NamedTuple):
    """What the network sees, as numbers and as a picture."""

    tensor: torch.Tensor
    """`(channels, H, W)`, float32, normalised."""
    displayed: Image.Image
    """The same crop in RGB, before normalisation."""
    view: View


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> Prepared:
    """Resizes, crops and normalises an image in the way of torchvision's evaluation transforms.

    Raises:
        InvalidImage: The image is so long and narrow that resizing its shorter side would make it too large.
    """
    fitted, view = _fitted(image.convert("RGB" if preprocessing.channels == 3 else "L"), preprocessing)
    pixels = transforms.pil_to_tensor(fitted).contiguous().to(torch.float32) / 255
    tensor = transforms.normalize(pixels, preprocessing.mean, preprocessing.std)
    return Prepared(tensor, fitted.convert("RGB"), view)


def _fitted(image: Image.Image, preprocessing: Preprocessing) -> tuple[Image.Image, View]:
    interpolation = InterpolationMode(preprocessing.interpolation)
    if preprocessing.resize is None:
        direct: Image.Image = transforms.resize(image, list(preprocessing.size), interpolation)
        return direct, View.whole(image.height, image.width)
    _require_ratio(image, preprocessing.resize)
    resized = transforms.resize(image, [preprocessing.resize], interpolation)
    height, width = preprocessing.size
    top, left = round((resized.height - height) / 2), round((resized.width - width) / 2)  # as torchvision rounds
    across, down = image.width / resized.width, image.height / resized.height
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    cropped: Image.Image = transforms.crop(resized, top, left, height, width)
    return cropped, View((image.height, image.width), box)


def _require_ratio(image: Image.Image, shorter_side: int) -> None:
    scale = shorter_side / min(image.size)
    if image.width * image.height * scale**2 > max(MAX_PIXELS, image.width * image.height):
        raise InvalidImage(
            f"an image of {image.width} x {image.height} pixels is too narrow: with its shorter side at {shorter_side} "
            f"it would have more than {MAX_PIXELS:,} pixels; crop it"
        )
