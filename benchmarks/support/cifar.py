"""The CIFAR-10 classifier and test images of the development data."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from attribution.architectures import cifar_resnet

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def resnet20(data: Path) -> nn.Module:
    """ResNet-20 with its weights."""
    module = cifar_resnet(20)
    module.load_state_dict(load_file(data / "weights" / "cifar_resnet20.safetensors"))
    return module.eval()


def images(data: Path, chosen: slice) -> torch.Tensor:
    """Test images, normalised ``(n, 3, 32, 32)``."""
    pixels = torch.from_numpy(np.load(data / "cifar10.npz")["test_x"][chosen].astype(np.float32) / 255)
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2).contiguous()
