"""A classifier whose last layer looks at a few features a class."""

import torch
from safetensors.torch import save
from torch import nn

from attribution.decomposition.influential import Influential, require_indices
from attribution.errors import InvalidInput, NetworkError
from attribution.final_layer.decomposed_head import DecomposedHead
from attribution.final_layer.layer import FinalLayer, replaced, require_path
from attribution.networks.network import Network
from attribution.stored import loaded


def decomposed_head(final: FinalLayer, indices: torch.Tensor) -> DecomposedHead:
    """Returns the decomposed form of a final layer, for each class's features ``(K, n)``.

    Raises:
        InvalidInput: The indices do not fit the layer.
    """  # noqa: DOC502 - the check raises it
    require_indices(indices, final.n_classes, final.n_features)
    indices = indices.to(final.weight.device)
    weight = final.weight.gather(1, indices.clamp(min=0))
    return DecomposedHead(indices, weight, final.bias, is_spatial=final.is_spatial)


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
    return replaced(network.module, require_path(final), decomposed_head(final, indices))


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
    name = f"{require_path(final)}.indices"
    if name not in state:
        raise InvalidInput(f"the file has no {name}: it does not hold a decomposed classifier of this architecture")
    decomposed = decompose(network, state[name])
    try:
        decomposed.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInput(f"the file does not fit the architecture: {error}") from error
    return decomposed


def decomposed_like(module: nn.Module, n_features: int) -> tuple[nn.Module, int]:
    """Returns the form of a decomposed classifier, to load weights into, and how many features its final layer has.

    Args:
        module: The full classifier, whose weights do not matter and may be on the ``meta`` device.
        n_features: Features a class.

    Raises:
        NetworkError: There is no final layer to decompose.
    """  # noqa: DOC502 - the final layer raises it
    final = FinalLayer(Network(module))
    none = torch.full((final.n_classes, n_features), -1)
    return replaced(module, require_path(final), decomposed_head(final, none)), final.n_features


def head_of(decomposed: nn.Module) -> DecomposedHead:
    """Returns the decomposed head of a module.

    Raises:
        NetworkError: It has none.
    """
    for part in decomposed.modules():
        if isinstance(part, DecomposedHead):
            return part
    raise NetworkError(f"{type(decomposed).__name__} has no decomposed head; make one with decompose()")


def with_dense_head(decomposed: nn.Module, n_features: int) -> nn.Module:
    """Returns a decomposed classifier with an ordinary last layer, whose other weights are zero.

    It computes the same at the price of the full layer, and whatever applies to that applies to it: layers, tails, and
    the rules of DeepLIFT and epsilon-LRP, for which the gathered head is several operations.

    Args:
        decomposed: As ``decompose`` returns it.
        n_features: Of the full layer.

    Raises:
        NetworkError: The module has no decomposed head.
        InvalidInput: Its indices are not features of the layer.
    """  # noqa: DOC502 - the checks raise them
    head = head_of(decomposed)
    require_indices(head.indices, len(head.indices), n_features)
    # The last column takes the places without a feature, whose weights may be anything.
    weight = head.weight.new_zeros(len(head.weight), n_features + 1)
    weight = weight.scatter(1, head.indices.remainder(n_features + 1), head.weight.detach())[:, :n_features]
    shape = (n_features, len(weight))
    bias, device = head.bias is not None, weight.device
    dense = (
        nn.Conv2d(*shape, 1, bias=bias, device=device)
        if head.is_spatial
        else nn.Linear(*shape, bias=bias, device=device)
    )
    dense.weight = nn.Parameter(weight.reshape(dense.weight.shape).clone())
    dense.bias = head.bias
    path = next(name for name, part in decomposed.named_modules() if part is head)
    return replaced(decomposed, path, dense)
