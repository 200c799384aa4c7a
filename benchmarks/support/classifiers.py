"""ImageNet classifiers and photographs of the development data."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from support.factories import mobilenet_with_relu
from torch import nn

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def mobilenet(data: Path) -> nn.Module:
    """MobileNetV2 whose weights were folded: ReLU for ReLU6, and only a bias left in each batch norm."""
    return _loaded(mobilenet_with_relu(), data / "weights" / "mobilenet_v2.fp16.safetensors")


def squeezenet(data: Path) -> nn.Module:
    """SqueezeNet 1.1, which ends in a pooled convolution."""
    return _loaded(torchvision.models.squeezenet1_1(weights=None), data / "weights" / "squeezenet1_1.fp16.safetensors")


def photographs(data: Path, count: int) -> torch.Tensor:
    """Evenly spread over the classes, shorter side 256, centre crop 224, normalised ``(count, 3, 224, 224)``."""
    paths = sorted((data / "imagenet").glob("*.jpg"))
    return torch.stack([_photograph(paths[number * len(paths) // count]) for number in range(count)])


def _photograph(path: Path) -> torch.Tensor:
    with Image.open(path) as opened:
        scale = 256 / min(opened.size)
        width, height = (round(side * scale) for side in opened.size)
        resized = opened.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - 224) // 2, (height - 224) // 2
    pixels: np.ndarray[Any, Any] = np.asarray(resized.crop((left, top, left + 224, top + 224)), dtype=np.float32)
    return ((torch.from_numpy(pixels / 255) - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1).contiguous()


def _loaded(module: nn.Module, path: Path) -> nn.Module:
    state = load_file(path)
    module.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    return module.eval()
