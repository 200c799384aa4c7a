"""From images to inputs."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models, transforms
from torchvision.models import ResNet18_Weights

from attribution_contracts.models import Preprocessing
from workers.images.preprocessing import preprocess
from workers.problems import InvalidImage

IMAGENET = Preprocessing(size=(224, 224), resize=256, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def noise(width, height, mode="RGB"):
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("size", [(300, 400), (500, 260), (224, 224), (100, 90)])
def test_equals_the_transforms_of_torchvision(size):
    expected = ResNet18_Weights.IMAGENET1K_V1.transforms()(noise(*size))
    torch.testing.assert_close(preprocess(noise(*size), IMAGENET).tensor, expected, rtol=0, atol=0)


SIDES = [(1, 1), (5, 7), (31, 100), (500, 333), (333, 500), (224, 225), (257, 256), (640, 480)]
PUBLISHED = {
    "resnet50 v2": (models.ResNet50_Weights.IMAGENET1K_V2, 224, 232, "bilinear"),
    "efficientnet": (models.EfficientNet_B0_Weights.IMAGENET1K_V1, 224, 256, "bicubic"),
    "inception": (models.Inception_V3_Weights.IMAGENET1K_V1, 299, 342, "bilinear"),
    "swin": (models.Swin_T_Weights.IMAGENET1K_V1, 224, 232, "bicubic"),
    "no border": (models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1, 384, 384, "bicubic"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_what_is_published_with_weights(name):
    weights, side, shorter, how = PUBLISHED[name]
    given = IMAGENET.model_copy(update={"size": (side, side), "resize": shorter, "interpolation": how})
    for size in SIDES:
        expected = weights.transforms()(noise(*size))
        torch.testing.assert_close(preprocess(noise(*size), given).tensor, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("how", "theirs"),
    [
        ("nearest", transforms.InterpolationMode.NEAREST),
        ("bilinear", transforms.InterpolationMode.BILINEAR),
        ("bicubic", transforms.InterpolationMode.BICUBIC),
        ("lanczos", transforms.InterpolationMode.LANCZOS),
        ("box", transforms.InterpolationMode.BOX),
        ("hamming", transforms.InterpolationMode.HAMMING),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(256, 128), (33, 77), (224, 224)])
def test_equals_a_resize_without_a_crop(how, theirs, height, width):
    steps = transforms.Compose([transforms.Resize((height, width), theirs), transforms.ToTensor()])
    given = Preprocessing(size=(height, width), interpolation=how)
    for size in SIDES:
        torch.testing.assert_close(preprocess(noise(*size), given).tensor, steps(noise(*size)), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(300, 400), (500, 333), (224, 224), (100, 90), (333, 500)])
def test_the_crop_is_told_in_pixels_of_the_photograph(size):
    """Drawn into the photograph at its box, what the network saw lies where it came from."""
    width, height = size
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    ramp = Image.fromarray(np.stack([across * 255 // width, down * 255 // height, 0 * down], -1).astype(np.uint8))
    _, shown, view = preprocess(ramp, IMAGENET)
    left, top, right, bottom = view.box
    assert view.original == (height, width)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    middle = np.asarray(shown, dtype=float)[100, 50]
    x, y = left + (right - left) * 50.5 / 224 - 0.5, top + (bottom - top) * 100.5 / 224 - 0.5
    np.testing.assert_allclose(middle[:2], [x * 255 / width, y * 255 / height], atol=2)


def test_without_a_crop_all_of_it_is_seen():
    view = preprocess(noise(97, 120), Preprocessing(size=(20, 30))).view
    assert view == ((120, 97), (0, 0, 97, 120))


@pytest.mark.parametrize(
    "preprocessing",
    [
        IMAGENET,
        Preprocessing(size=(20, 30)),
        Preprocessing(color="grey", size=(28, 28), resize=40, mean=[0.5], std=[0.5]),
    ],
)
def test_the_picture_shown_is_what_the_network_sees(preprocessing):
    tensor, displayed, _ = preprocess(noise(97, 120), preprocessing)
    assert tensor.shape == (preprocessing.channels, *preprocessing.size)
    assert (tensor.dtype, displayed.mode) == (torch.float32, "RGB")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    seen = torch.from_numpy(np.array(displayed)).permute(2, 0, 1)[: preprocessing.channels]
    torch.testing.assert_close(tensor * std + mean, seen / 255)


def test_an_image_of_the_right_size_is_not_resampled():
    image = noise(32, 32)
    np.testing.assert_array_equal(
        np.asarray(preprocess(image, Preprocessing(size=(32, 32))).displayed), np.asarray(image)
    )


def test_size_is_height_then_width():
    assert preprocess(noise(50, 50), Preprocessing(size=(10, 20))).displayed.size == (20, 10)


def test_nearest_keeps_the_colours():
    image = noise(8, 8, "L")
    enlarged = preprocess(image, Preprocessing(color="grey", size=(16, 16), interpolation="nearest")).tensor[0]
    torch.testing.assert_close(enlarged[::2, ::2] * 255, torch.from_numpy(np.array(image)).float())


def test_a_strip_is_refused_before_it_is_enlarged():
    strip = Image.new("L", (1, 1_000_000))
    with pytest.raises(InvalidImage, match="1 x 1000000 pixels is too narrow"):
        preprocess(strip, IMAGENET)


def test_a_strip_fits_where_nothing_is_cropped():
    assert preprocess(Image.new("RGB", (1, 100_000)), Preprocessing(size=(8, 8))).tensor.shape == (3, 8, 8)


def test_inputs_are_contiguous():
    assert preprocess(noise(50, 50), IMAGENET).tensor.is_contiguous()
