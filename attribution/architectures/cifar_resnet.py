"""The residual networks that He et al. trained on CIFAR-10."""

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (16, 32, 64)


class PaddedShortcut(nn.Module):
    """The shortcut without parameters: every second pixel, and zero channels in equal parts before and after."""

    def __init__(self, added_channels: int) -> None:
        super().__init__()
        before = added_channels // 2
        self.padding = (0, 0, 0, 0, before, added_channels - before)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Thins out the pixels and adds the channels.

        Returns:
            `(batch, C + added_channels, ceil(H / 2), ceil(W / 2))` for inputs `(batch, C, H, W)`.
        """
        return functional.pad(inputs[:, :, ::2, ::2], self.padding)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, added to the shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity() if stride == 1 else PaddedShortcut(channels - in_channels)
        self.relu2 = nn.ReLU()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Adds what the convolutions find to the shortcut.

        Returns:
            `(batch, channels, H, W)`, of half the height and width where the stride is 2.
        """
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(inputs)))))
        output: torch.Tensor = self.relu2(residual + self.shortcut(inputs))
        return output


def stage(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    """Blocks of one width.

    Returns:
        The blocks in order; the first halves height and width where the width grows.
    """
    first = BasicBlock(in_channels, channels, stride=1 if in_channels == channels else 2)
    return nn.Sequential(first, *(BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)))


class CifarResNet(nn.Module):
    """A stem, three stages of basic blocks, global average pooling and a dense layer."""

    def __init__(self, blocks: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1 = stage(WIDTHS[0], WIDTHS[0], blocks)
        self.layer2 = stage(WIDTHS[0], WIDTHS[1], blocks)
        self.layer3 = stage(WIDTHS[1], WIDTHS[2], blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(WIDTHS[2], num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Classifies images of any height and width.

        Returns:
            Logits `(batch, num_classes)` for inputs `(batch, in_channels, H, W)`.
        """
        features = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(inputs))))))
        logits: torch.Tensor = self.linear(self.flatten(self.avgpool(features)))
        return logits


def cifar_resnet(depth: int, in_channels: int = 3, num_classes: int = 10) -> CifarResNet:
    """The residual network of `6 n + 2` layers for small images, with shortcuts that have no parameters.

    Args:
        depth: number of layers with weights on the longest path: 20, 32, 44, 56, ... (`6 n + 2` with `n >= 1`).
        in_channels: channels of the input, at least 1.
        num_classes: number of logits, at least 1.

    Returns:
        A module that maps `(batch, in_channels, H, W)` of any height and width to logits `(batch, num_classes)`.

    Raises:
        ValueError: if no such network has this depth.

    Source:
        He et al. 2016, section 4.2 (option A shortcuts).

    >>> cifar_resnet(20)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    blocks, remainder = divmod(depth - 2, 6)
    if remainder or blocks < 1:
        raise ValueError(f"depth must be 6 n + 2 (8, 14, 20, 32, 44, 56, ...), given {depth}")
    return CifarResNet(blocks, in_channels, num_classes)
