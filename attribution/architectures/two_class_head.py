"""A small head on the convolutional features of a known network, for two classes."""

import copy
from collections import OrderedDict

import torch
from torch import nn
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer

TRANSFORMERS = (MaxVit, SwinTransformer, VisionTransformer)
HEAD = frozenset({"AuxLogits", "aux1", "aux2", "avgpool", "classifier", "dropout", "fc", "head", "heads"})
"""What torchvision calls the parts of a classifier that come after its convolutional features."""


def convolutional_features(backbone: nn.Module) -> nn.Module:
    """The part of a torchvision classifier that ends in the last feature maps.

    Args:
        backbone: a convolutional classifier of torchvision; its modules are shared, not copied.

    Returns:
        `backbone.features` where there is one, otherwise its children up to the pooling, in order and under the same
        names. It maps `(batch, channels, H, W)` to `(batch, features, H', W')`.

    Raises:
        TypeError: if the backbone has no convolutional features, as transformers do.
    """
    if isinstance(backbone, TRANSFORMERS):
        raise TypeError(
            f"{type(backbone).__name__} has no convolutional features to put a head on: give a convolutional backbone, "
            "for example vgg19, resnet50 or mobilenet_v2"
        )
    if isinstance(features := getattr(backbone, "features", None), nn.Module):
        return features
    return nn.Sequential(OrderedDict((name, child) for name, child in backbone.named_children() if name not in HEAD))


def feature_count(features: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Finds out the size of the features from shapes alone.

    Returns:
        How many numbers the features have for one input.
    """
    shapes_only = copy.deepcopy(features).to("meta").eval()
    features_of_one: torch.Tensor = shapes_only(torch.empty(1, *input_shape, device="meta"))
    return features_of_one.numel()


def two_class_head(
    backbone: nn.Module,
    input_shape: tuple[int, int, int] = (3, 224, 224),
    hidden: int = 64,
    dropout: float = 0.5,
    num_classes: int = 2,
) -> nn.Sequential:
    """Flatten, a dense layer with its rectifier, dropout and one logit a class, on the features of a backbone.

    Args:
        backbone: a convolutional classifier of torchvision, for example `torchvision.models.vgg19()`.
        input_shape: channels, height and width of the input; the flattened features depend on it.
        hidden: units of the dense layer.
        dropout: probability of dropping a unit in training, in [0, 1].
        num_classes: number of logits.

    Returns:
        A module with the children `features` and `classifier` that maps `(batch, *input_shape)` to logits
        `(batch, num_classes)`. The names below `features` are those of torchvision, so its weights can be copied over.

    Source:
        Banerjee and Chu 2022 (25,088 features of VGG-19, 64 units, 2 classes).
    """
    features = convolutional_features(backbone)
    classifier: list[tuple[str, nn.Module]] = [
        ("flatten", nn.Flatten()),
        ("dense1", nn.Linear(feature_count(features, input_shape), hidden)),
        ("relu", nn.ReLU()),
        ("dropout", nn.Dropout(dropout)),
        ("dense2", nn.Linear(hidden, num_classes)),
    ]
    return nn.Sequential(OrderedDict(features=features, classifier=nn.Sequential(OrderedDict(classifier))))
