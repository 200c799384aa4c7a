"""The method that a model is explained by where a request leaves it open."""

from collections.abc import Collection, Iterator

from attribution_contracts.methods import METHODS
from attribution_contracts.models import DefaultMethod, ModelReport
from attribution_contracts.parameters.base import Scale

PATIENCE_S = 30.0
"""What an image may cost by default."""
_REASONS = {
    "integrated_gradients": "its values add up to the change of the output, and what they miss of it is reported",
    "cam": "one forward and one backward pass say where a layer's feature maps speak for the class",
    "input_x_gradient": "one forward and one backward pass",
    "segment_shapley": "it needs outputs alone; what the segments add adds up, with a standard error",
    "occlusion": "it needs outputs alone",
    "rise": "it needs outputs alone",
}
"""The best first: what is told of each. Where none has a bearable cost the cheapest is taken."""


def with_default(report: ModelReport, disabled: Collection[str] = ()) -> ModelReport:
    """What clients see of a report: nothing of methods that the operator has disabled, and the default of the others.

    That is the best that applies at a bearable cost; nothing where none applies.
    """
    offered = report.without(disabled)
    return offered.model_copy(update={"default": _default(list(_applying(offered)))})


def _default(found: list[DefaultMethod]) -> DefaultMethod | None:
    if not found:
        return None
    bearable = [one for one in found if (one.seconds or 0.0) <= PATIENCE_S]
    chosen = bearable[0] if bearable else min(found, key=lambda one: one.passes)
    passed_over = [f"{one.method} would take {one.seconds:.0f} s" for one in found[: found.index(chosen)]]
    reason = "; ".join([_REASONS[chosen.method], *passed_over])
    return chosen.model_copy(update={"reason": reason})


def _applying(report: ModelReport) -> Iterator[DefaultMethod]:
    for method, reason in _REASONS.items():
        if method not in report.methods or not report.methods[method].applies:
            continue
        params = METHODS[method].model_validate({"method": method})
        passes = 1 + params.usual_passes(Scale(targets=1, classes=report.classes, layers=1, baselines=1))
        seconds = None if report.speed is None else passes * report.speed.a_pass
        yield DefaultMethod(method=method, reason=reason, passes=passes, seconds=seconds)
