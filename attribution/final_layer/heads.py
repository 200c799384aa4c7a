"""A classifier whose last layer looks at a few features a class."""

import torch
from safetensors.torch import save
from torch import nn
from torch.fx._symbolic_trace import is_fx_symbolic_tracing
from torch.nn import functional

from attribution.errors import InvalidInput, NetworkError
from attribution.final_layer.histograms import loaded
from attribution.final_layer.influential import Influential, membership, require_indices
from attribution.final_layer.layer import FinalLayer, replaced
from attribution.network import Network


class DecomposedHead(nn.Module):
    r"""The scores :math:`\sum_{i \in I_c} W_{ci} z_i + b_c` from gathered rows: ``n K`` multiplications, not ``d K``.

    Args:
        indices: ``(K, n)``, int64, the features of each class; -1 for none.
        weight: ``(K, n)``, the weight of each of them; of no meaning where there is none.
        bias: ``(K,)`` or nothing.
        is_spatial: Whether the features come at every position, ``(batch, d, height, width)``.

    >>> head = DecomposedHead(torch.tensor([[1], [0]]), torch.tensor([[2.0], [3.0]]), None)
    >>> head(torch.tensor([[1.0, 10.0]])).tolist()
    [[20.0, 3.0]]
    """

    indices: torch.Tensor

    def __init__(
        self, indices: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *, is_spatial: bool = False
    ) -> None:
        """Copies what it is given."""
        super().__init__()
        self.register_buffer("indices", indices.to(weight.device, copy=True))
        self.weight = nn.Parameter(weight.detach().clone().masked_fill(self.indices < 0, 0))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.is_spatial = is_spatial

    @classmethod
    def of(cls, final: FinalLayer, indices: torch.Tensor) -> "DecomposedHead":
        """Returns the decomposed form of a final layer."""
        indices = indices.to(final.weight.device)
        weight = final.weight.gather(1, indices.clamp(min=0))
        return cls(indices, weight, final.bias, is_spatial=final.is_spatial)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Returns the scores ``(batch, K)`` of features ``(batch, d)``; both with ``height, width`` where spatial."""
        if not self.is_spatial:
            return self._scores(features.transpose(0, 1)).transpose(0, 1)
        scores = self._scores(features.transpose(0, 1).flatten(1))
        return scores.reshape(-1, features.shape[0], features.shape[2], features.shape[3]).transpose(0, 1)

    def _scores(self, table: torch.Tensor) -> torch.Tensor:
        """Returns ``(K, m)`` for features ``(d, m)``."""
        n_classes, width = self.weight.shape
        # A row of zeros in front: index -1 finds it, so that training never finds a use for a place without a feature.
        table, rows = functional.pad(table.to(self.weight.dtype), (0, 0, 1, 0)), self.indices + 1
        if is_fx_symbolic_tracing():
            # The fused sum has no derivative of its derivative, which methods that run the graph may ask for.
            gathered = table.index_select(0, rows.flatten()).reshape(n_classes, width, -1)
            scores = torch.bmm(self.weight.unsqueeze(1), gathered).squeeze(1)
        elif table.shape[1] == 1:
            # For a single image the fused sum costs more than what it saves.
            gathered = table.flatten().index_select(0, rows.flatten()).view(n_classes, width)
            scores = (gathered * self.weight).sum(1, keepdim=True)
        else:
            # Features are added up as they are read: a tenth of the time of gathering, and no (batch, K, n).
            scores = functional.embedding_bag(rows, table.contiguous(), per_sample_weights=self.weight, mode="sum")
        return scores if self.bias is None else scores + self.bias.unsqueeze(1)


def decompose(network: Network, influential: Influential | torch.Tensor) -> nn.Module:
    """Returns a classifier of its own whose final layer uses each class's influential features only.

    It is a copy of the network's module, weights included, in evaluation mode, that can be trained and explained like
    any other; its state dict is that of the module with the final layer's ``weight`` ``(K, n)`` and ``indices``.

    Args:
        network: The classifier that the features were found for.
        influential: What was found, or indices ``(K, n)``, int64, -1 for none.

    Returns:
        A module that maps images to decomposed logits; predictions are their softmax.

    Raises:
        NetworkError: There is no final layer to decompose.
        InvalidInput: The indices belong to another network.

    Cost:
        Memory for a copy of the weights.

    Guarantee:
        Exact: the scores of the full layer with the other features' weights at zero; with all d features those of the
        network, to rounding.

    Source:
        "Decomposing the Deep: Finding Class Specific Filters in Deep CNNs", sections 4.2 and 5.2.4. Silent on the
        bias, which stays here.

    >>> module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    >>> _ = module[1].weight.data.copy_(torch.tensor([[1.0, 10.0], [100.0, 1000.0]]))
    >>> decomposed = decompose(Network(module), torch.tensor([[0], [1]]))
    >>> decomposed(torch.ones(1, 1, 1, 2)).tolist()
    [[1.0, 1000.0]]
    """  # noqa: DOC502 - the final layer and the checks raise them
    final = FinalLayer(network)
    indices = influential.indices if isinstance(influential, Influential) else influential
    require_indices(indices, final.n_classes, final.n_features)
    return replaced(network.module, final.path, DecomposedHead.of(final, indices))


def decomposed_bytes(decomposed: nn.Module) -> bytes:
    """Returns the state dict of a decomposed classifier as a safetensors file."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in decomposed.state_dict().items()}
    stored: bytes = save(state)
    return stored


def decomposed_from_bytes(network: Network, stored: bytes) -> nn.Module:
    """Returns the decomposed classifier that ``decomposed_bytes`` stored.

    Args:
        network: One of the same architecture; its weights do not matter.
        stored: A safetensors file.

    Returns:
        The module, in evaluation mode, on the network's device.

    Raises:
        InvalidInput: The file does not fit the architecture.
    """
    final, state = FinalLayer(network), loaded(stored)
    name = f"{final.path}.indices"
    if name not in state:
        raise InvalidInput(f"the file has no {name}: it does not hold a decomposed classifier of this architecture")
    decomposed = decompose(network, state[name])
    try:
        decomposed.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInput(f"the file does not fit the architecture: {error}") from error
    return decomposed


def head_of(decomposed: nn.Module) -> DecomposedHead:
    """Returns the decomposed head of a module.

    Raises:
        NetworkError: It has none.
    """
    for part in decomposed.modules():
        if isinstance(part, DecomposedHead):
            return part
    raise NetworkError(f"{type(decomposed).__name__} has no decomposed head; make one with decompose()")


def masked_weight(final: FinalLayer, indices: torch.Tensor) -> torch.Tensor:
    """Returns the full weight ``(K, d)`` with everything but the chosen features at zero."""
    return final.weight * membership(indices.to(final.weight.device), final.n_features)
