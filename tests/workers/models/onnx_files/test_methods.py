"""Every method that needs outputs only gives of an ONNX file what it gives of the network that was exported."""

import pytest
import torch

from attribution import Network
from attribution.applicability import applicable_methods
from attribution.networks.outputs_only import OutputsOnly
from tests.workers.models.onnx_files.files import CLASSES, SHAPE, classifier, exported, spec, stored
from workers.methods.table import METHODS
from workers.models import trials
from workers.models.loading import load_module


def those_that_apply():
    """The methods that the engine says need no more."""
    nothing = OutputsOnly(lambda _: torch.zeros(1, CLASSES), kind="ONNX", n_parameters=0, n_bytes=0)
    return [name for name, reason in applicable_methods(Network(nothing, SHAPE[1:])).items() if reason is None]


@pytest.mark.parametrize("method", those_that_apply())
def test_maps_are_the_same(tmp_path, method):
    module = classifier(5)
    file = load_module(spec(), stored(exported(module, SHAPE), tmp_path), {}).module
    ours, theirs = (_explained(method, Network(given, SHAPE[1:])) for given in (file, module))
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.values, other.values, atol=1e-4, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("method", those_that_apply())
def test_its_report_says_that_they_apply(tmp_path, method):
    file = load_module(spec(), stored(exported(classifier(5), SHAPE), tmp_path), {}).module
    assert trials.tried(Network(file, SHAPE[1:]), spec())[method] is None


def _explained(method, network):
    """What a small call of a method gives, as the check of a model makes it."""
    return METHODS[method].run(trials._call(method, network, spec(), network.examples()[:2])).outputs
