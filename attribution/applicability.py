"""Which methods apply to a network."""

import pkgutil
from collections.abc import Callable

from attribution import methods
from attribution.errors import NetworkError
from attribution.final_layer.layer import obstacle
from attribution.layerwise.blocks import no_blocks
from attribution.layerwise.places import no_places
from attribution.methods.first_layer_filters import first_layer_filters
from attribution.networks.network import Network
from attribution.networks.outputs_only import OutputsOnly
from attribution.propagation.completeness import require_rescale
from attribution.propagation.rectifiers import require_rectifiers
from attribution.propagation.rule_sets import rule_of


def _refusal(require: Callable[[Network], object]) -> Callable[[Network], str | None]:
    """Returns what says why rules do not apply to all of a network."""

    def reason(network: Network) -> str | None:
        try:
            require(network.explaining("logit"))
        except NetworkError as error:
            return str(error)
        return None

    return reason


def _unplaced(network: Network) -> str | None:
    return no_places(network) if network.graph is not None else _no_layers(network)


def _no_layers(network: Network) -> str:
    return f"its layers are unknown without a graph; tracing stopped: {network.report().reason}"


#: Why a method needs more than gradients; those that do not are not here. Multi-class importance is not either: of
#: its attributions two need rules, and name the layer that has none.
_OBSTACLES: dict[str, Callable[[Network], str | None]] = {
    "activation_maps": _unplaced,
    "attention": no_blocks,
    "cam": _unplaced,
    "decomposition": obstacle,
    "deconvolution": _refusal(lambda network: require_rectifiers(network, "deconvolution")),
    "deeplift": _refusal(require_rescale),
    "lrp": _refusal(rule_of),
    "first_layer_filters": _refusal(first_layer_filters),
    "guided_backprop": _refusal(lambda network: require_rectifiers(network, "guided_backprop")),
    "inversion": _unplaced,
    "layer_shapley": lambda network: None if network.graph is not None else _no_layers(network),
}
_WITHOUT_GRADIENTS = frozenset(
    {"activation_maps", "decomposition", "first_layer_filters", "occlusion", "rise", "segment_shapley"}
)


def applicable_methods(network: Network) -> dict[str, str | None]:
    """Returns the id of each method with the reason why it does not apply, or nothing.

    >>> import torch
    >>> found = applicable_methods(Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))))
    >>> found["decomposition"], found["cam"]
    (None, 'no layer has channels, height and width: use integrated_gradients, or layer_shapley')
    """
    return {module.name: _reason(network, module.name) for module in pkgutil.iter_modules(methods.__path__)}


def _reason(network: Network, method: str) -> str | None:
    if isinstance(network.module, OutputsOnly):
        # What needs no gradients and has no obstacle needs no layers either.
        enough = sorted(_WITHOUT_GRADIENTS - _OBSTACLES.keys())
        others = f"methods that apply: {', '.join(enough)}" if enough else "no method explains it from them alone"
        return None if method in enough else f"{network.module.why}; {others}"
    if method not in _WITHOUT_GRADIENTS and network.no_gradients is not None:
        return f"no gradients to explain with: {network.no_gradients}"
    return _OBSTACLES[method](network) if method in _OBSTACLES else None
