"""The attributions whose matrices over all classes can be multiplied without being held."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import torch

from attribution.checks import require_choice, require_count, require_number
from attribution.errors import InvalidOption
from attribution.multiclass.baseline_matrices import BaselineRows, Step, Steps, path_steps
from attribution.multiclass.contrasts import Head
from attribution.multiclass.matrices import GradientRows, Rows, output_head
from attribution.networks.network import Network
from attribution.paths.quadrature import QUADRATURES, Quadrature, quadrature_rule
from attribution.paths.straight import stacked_baselines
from attribution.propagation.completeness import require_rescale
from attribution.propagation.relevance import kept_share, relevance_pass, require_relevance
from attribution.propagation.rescale import rescaled

#: ``saliency`` is the absolute gradient, as its paper has it, and the only one that is not linear in the output;
#: ``gradient`` is the signed one.
Attribution = Literal["input_x_gradient", "gradient", "saliency", "integrated_gradients", "deeplift", "lrp_epsilon"]

ATTRIBUTIONS: tuple[Attribution, ...] = get_args(Attribution)

#: Which attributions take which option.
_TAKERS: dict[str, tuple[Attribution, ...]] = {
    "baseline": ("integrated_gradients", "deeplift"),
    "background": ("integrated_gradients", "deeplift"),
    "n_steps": ("integrated_gradients",),
    "quadrature": ("integrated_gradients",),
    "epsilon": ("lrp_epsilon",),
}


class AttributionOptions(NamedTuple):
    """What some attributions need: see ``multiclass_importance``."""

    baseline: torch.Tensor | Sequence[torch.Tensor] | None = None
    background: torch.Tensor | None = None
    n_steps: int | None = None
    quadrature: Quadrature | None = None
    epsilon: float | None = None


class RelevanceRows(GradientRows):
    """Relevances of the inputs: ``u^T A`` is what comes of the relevance ``u * f``."""

    def __init__(self, network: Network, inputs: torch.Tensor, epsilon: float) -> None:
        """Binds the matrices to a batch."""
        super().__init__(network, inputs, times_input=True, function=relevance_pass(network, epsilon))
        self._epsilon = epsilon

    def head(self, outputs: torch.Tensor) -> Head | None:
        """Returns the last weight, each class's row shrunk by what its own bias and epsilon keep."""
        head = output_head(self.network, outputs)
        if head is None or not head.spans:
            return head
        share = kept_share(outputs.double(), self._epsilon)
        return head._replace(weight=share.unsqueeze(2) * head.weight)


def attribution_rows(
    network: Network, inputs: torch.Tensor, attribution: Attribution, options: AttributionOptions
) -> Rows:
    """Returns the attribution matrices of a batch; those of ``saliency`` before the absolute value is taken.

    Raises:
        InvalidInput: Baselines do not fit the inputs, or are missing.
        InvalidOption: No such attribution, or an option that it does not take.
        NetworkError: The attribution has no rule for one of the network's layers.
    """  # noqa: DOC502 - the checks that it calls raise them
    require_choice(attribution, "attribution", ATTRIBUTIONS)
    _require_options(attribution, options)
    if attribution in _TAKERS["baseline"]:
        baselines = stacked_baselines(network, inputs, options.baseline, options.background)
        return BaselineRows(network, inputs, baselines, _steps(network, attribution, options))
    if attribution == "lrp_epsilon":
        require_relevance(network)
        epsilon = 1e-4 if options.epsilon is None else options.epsilon
        return RelevanceRows(network, inputs, require_number(epsilon, "epsilon", 1e-12))
    return GradientRows(network, inputs, times_input=attribution == "input_x_gradient")


def _steps(network: Network, attribution: Attribution, options: AttributionOptions) -> Steps:
    if attribution == "deeplift":
        require_rescale(network)
        return _rescale_steps(network)
    quadrature = "gauss_legendre" if options.quadrature is None else options.quadrature
    require_choice(quadrature, "quadrature", QUADRATURES)
    n_steps = require_count(50 if options.n_steps is None else options.n_steps, "n_steps")
    return path_steps(network, quadrature_rule(quadrature, n_steps))


def _rescale_steps(network: Network) -> Steps:
    def steps(starts: torch.Tensor, ends: torch.Tensor) -> Iterator[Step]:
        yield Step(1.0, rescaled(network, starts), ends)

    return steps


def _require_options(attribution: Attribution, options: AttributionOptions) -> None:
    for name, value in options._asdict().items():
        if value is not None and attribution not in _TAKERS[name]:
            raise InvalidOption(
                f"{name} is given, but {attribution} takes none: leave it out, or use {' or '.join(_TAKERS[name])}"
            )
