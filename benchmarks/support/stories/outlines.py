"""Is the outline in an early layer's map a part of the decision? Beside it the map of a head that learnt nothing."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_gradient_magnitude
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

import attribution
from attribution.architectures import two_class_head


def outlines(classifier: nn.Module, backbone: nn.Module, inputs: torch.Tensor, layers: list[str]) -> dict[str, Any]:
    """For each layer, rank correlations of its map's strength: with a fresh head's, and with edges of the photograph.

    Args:
        classifier: What is explained, for the class that it predicts.
        backbone: What its features come from; a head is put on them whose weights are those of a start.
        inputs: `(n, channels, height, width)`; the means over them are returned.
        layers: Whose maps.
    """
    torch.manual_seed(1)
    _, channels, height, width = inputs.shape
    modules = (classifier, two_class_head(backbone, (channels, height, width)).eval())
    networks = [attribution.Network(module, (channels, height, width)) for module in modules]
    found: dict[str, list[tuple[float, float]]] = {layer: [] for layer in layers}
    for image in inputs.split(1):
        edges = gaussian_gradient_magnitude(image[0].mean(0).numpy(), 1.0)
        trained, random = (_strengths(network, image, layers) for network in networks)
        for layer in layers:
            sizes = trained[layer].shape
            reduced = functional.adaptive_avg_pool2d(torch.from_numpy(edges)[None, None], sizes)[0, 0].numpy()
            found[layer].append((_rank(trained[layer], random[layer]), _rank(trained[layer], reduced)))
    means = {layer: np.mean(pairs, axis=0).round(3).tolist() for layer, pairs in found.items()}
    return {"with_a_fresh_head": {layer: pair[0] for layer, pair in means.items()}} | {
        "with_edges": {layer: pair[1] for layer, pair in means.items()}
    }


def _strengths(network: attribution.Network, image: torch.Tensor, layers: list[str]) -> dict[str, NDArray[np.float64]]:
    background = attribution.baselines.blur(image, 5.0)
    maps = attribution.layer_shapley(
        network, image, network(image).argmax(1), background=background, layers=layers, estimator="deeplift"
    ).maps
    return {name: values[0].abs().double().numpy() for name, values in maps.items()}


def _rank(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(spearmanr(one.ravel(), other.ravel()).statistic)
