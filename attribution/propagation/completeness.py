"""Whether the rules see all of a network: DeepLIFT's sum over the image must equal the change of the output.

An operation that a graph hides from the rules shows here, whatever hides it.
"""

from weakref import WeakKeyDictionary

import torch
from torch import fx

from attribution.errors import NetworkError
from attribution.networks.network import Network
from attribution.networks.probes import probes
from attribution.propagation import rescale
from attribution.propagation.rule_pass import require_rules

#: Each graph's gap as a share of the change, found once.
_GAPS: WeakKeyDictionary[fx.GraphModule, float] = WeakKeyDictionary()


def require_rescale(network: Network) -> fx.GraphModule:
    """Returns the network's graph, where the rescale rule applies to all of it.

    Raises:
        NetworkError: It does not.
    """  # noqa: DOC502 - the checks that it calls raise
    graph = require_rules(network, rescale.RULES, "deeplift")
    require_complete(network, graph, "deeplift")
    return graph


def require_complete(network: Network, graph: fx.GraphModule, method: str) -> None:
    """Accepts a network whose multipliers against one probe account for the change of its outputs to another.

    Raises:
        NetworkError: They do not.

    Cost:
        Once a network, three forward passes and a backward pass of one image.
    """
    if network.input_shape is None:
        return
    if graph not in _GAPS:
        _GAPS[graph] = _gap(network, graph)
    bound = 1e-6 if network.dtype == torch.float64 else 2e-2
    if _GAPS[graph] > bound:
        raise NetworkError(
            f"{method} does not see all of this network: its contributions miss {_GAPS[graph]:.1%} of the change of the"
            " outputs, so something in it works beside the rules; use input_x_gradient or integrated_gradients"
        )


def _gap(network: Network, graph: fx.GraphModule) -> float:
    assert network.input_shape is not None  # noqa: S101 - the caller has seen to it
    point, _, reference = torch.split(probes(network.input_shape, network.dtype, network.device), 1)
    with torch.inference_mode(False), torch.enable_grad():
        point = point.requires_grad_()
        outputs = rescale.rescale_pass(graph, reference)(point)
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(outputs.shape[1], generator=generator, dtype=torch.float64).to(outputs)
        (multipliers,) = torch.autograd.grad((outputs * weights).sum(), point, materialize_grads=True)
    with torch.no_grad():
        before = graph.forward(reference)
    change = float(((outputs.detach() - before) * weights).sum())
    size = float((outputs.detach() * weights).abs().sum())
    # Where the outputs hardly change between the probes, rounding is all that could be seen.
    if abs(change) <= 1e4 * torch.finfo(outputs.dtype).eps * size:
        return 0.0
    return abs(float((multipliers * (point.detach() - reference)).sum()) - change) / abs(change)
