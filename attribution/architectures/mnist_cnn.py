"""The small convolutional network of Zhang and Gao."""

from collections import OrderedDict

from torch import nn


def mnist_cnn(in_channels: int = 1, num_classes: int = 10, input_size: tuple[int, int] = (28, 28)) -> nn.Sequential:
    """Two convolutions with max-pooling, then two dense layers; the softmax is left to the caller.

    Args:
        in_channels: channels of the input, at least 1.
        num_classes: number of logits, at least 1.
        input_size: height and width of the input in pixels, each at least 4.

    Returns:
        A module that maps `(batch, in_channels, *input_size)` to logits `(batch, num_classes)`; 1,256,080 parameters
        with the defaults.

    Raises:
        ValueError: if the input is too small for two poolings.

    Source:
        Zhang and Gao 2020, Table 2.

    >>> sum(parameter.numel() for parameter in mnist_cnn().parameters())
    1256080
    """
    height, width = (side // 4 for side in input_size)
    if min(height, width) < 1:
        raise ValueError(f"mnist_cnn pools twice, so input_size must be at least (4, 4); given {tuple(input_size)}")
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(in_channels, 20, 5, padding="same")),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(20, 50, 5, padding="same")),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("dense1", nn.Linear(50 * height * width, 500)),
        ("relu3", nn.ReLU()),
        ("dense2", nn.Linear(500, num_classes)),
    ]
    return nn.Sequential(OrderedDict(layers))
