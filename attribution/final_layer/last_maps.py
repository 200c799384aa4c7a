"""The feature maps of the last convolution, and which of them a feature comes from."""

import operator

import torch
from torch import fx

from attribution.final_layer.layer import FinalLayer, with_outputs
from attribution.networks.agreement import agreement
from attribution.networks.graph import operation

#: What may lie between the last feature maps and the features.
_PASSED = ("flatten", "reshape", "pooling", "dropout", "identity")
#: Reshaping that changes which axis is which: what lies before it may look like maps and be none.
_MOVES = frozenset({"permute", "transpose", "movedim", "swapaxes", "t", "roll", "getitem"})


class FeatureMaps:
    """Reads the last feature maps ``(n, channels, height, width)`` that the features are made of.

    A feature is the mean (or the maximum) of one map, or one value of the flattened maps; which of them is found by
    computing it. Once images have been run, ``layer`` names the one that gives the maps (``input`` is the image), or
    ``reason`` says why there are none.

    Args:
        final: The final layer of a network.
    """

    def __init__(self, final: FinalLayer) -> None:
        """Looks for tensors that may be the maps."""
        graph = final.network.graph
        assert graph is not None  # noqa: S101 - the final layer was found in it
        self._final = final
        self._candidates = _candidates(final)
        self._run = with_outputs(graph, (final.features_node, *self._candidates))
        self.reason: str | None = None
        self.layer: str | None = None

    def run(self, inputs: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """Returns the maps, or nothing where there are none, the features and the logits."""
        self._final.network.class_count(inputs)
        with torch.no_grad():
            features, *candidates, logits = self._run(inputs)
        self._final.require_features(features)
        # The one farthest from the features is the one not pooled yet.
        names = {node: layer for layer, node in self._final.network.nodes.items()}
        for node, values in zip(reversed(self._candidates), reversed(candidates), strict=True):
            if _are_maps(values, features):
                self.layer = "input" if node.op == "placeholder" else names.get(node)
                return values, features, logits
        last = names.get(self._candidates[-1], self._candidates[-1].name)
        self.reason = (
            f"the features of {self._final.name} come from {last} and are neither pooled nor flattened feature maps:"
            " there are no maps to show, only contributions"
        )
        return None, features, logits


def mean_maps(maps: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Returns the mean of the chosen features' maps, ``(n, k, height, width)``; zero where none is chosen.

    Args:
        maps: ``(n, channels, height, width)``.
        chosen: Bool ``(n, k, d)``: d channels, or values of the flattened maps.

    >>> maps = torch.tensor([[[[1.0]], [[3.0]], [[8.0]]]])
    >>> mean_maps(maps, torch.tensor([[[True, True, False]]])).flatten().tolist()
    [2.0]
    """
    counts = chosen.sum(2).clamp(min=1)[:, :, None, None]
    weight = chosen.to(maps.dtype)
    if chosen.shape[2] == maps.shape[1]:
        return torch.einsum("nkc,nchw->nkhw", weight, maps) / counts
    return torch.einsum("nkchw,nchw->nkhw", weight.reshape(*weight.shape[:2], *maps.shape[1:]), maps) / counts


def _candidates(final: FinalLayer) -> list[fx.Node]:
    """Returns the features' node and those before it that it may be a pooled or flattened form of, nearest first."""
    kinds = {final.network.nodes[layer.name]: layer.kind for layer in final.network.layers}
    graph = final.network.graph
    modules = {} if graph is None else dict(graph.named_modules())
    found = [final.features_node]
    while not final.is_spatial and kinds.get(found[-1]) in _PASSED and operation(found[-1], modules) not in _MOVES:
        found.append(found[-1].all_input_nodes[0])
    return found


def _are_maps(values: torch.Tensor, features: torch.Tensor) -> bool:
    if values.dim() != 4 or values.shape[2:].numel() == 1:
        return False
    if values.shape == features.shape:
        return True
    forms = (values.mean((2, 3)), values.amax((2, 3)), values.flatten(1))
    return any(form.shape == features.shape and operator.le(*agreement(form, features)) for form in forms)
