"""The check of a model without its job."""

from attribution import Network
from workers.models.loading import load
from workers.models.report import report_on


def check(spec, weights_path, factories):
    """Loads a model, runs it, and reports on it."""
    input_shape = (spec.preprocessing.channels, *spec.preprocessing.size)
    return report_on(Network(load(spec, weights_path, factories), input_shape), spec)
