"""A network whose weights were changed after it was wrapped explains nothing: parts of it are of before."""

import copy

import pytest
import torch

import attribution
from attribution import Network
from attribution.errors import NetworkError
from tests.attribution.tiny_models import MODELS, SHAPE, images, tiny_model


def load(module):
    module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()})


def train(module):
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(images()).sum().backward()
    optimizer.step()


def nudge(module):
    with torch.no_grad():
        next(module.parameters()).add_(0.5)


@pytest.mark.parametrize("change", [load, train, nudge])
@pytest.mark.parametrize("is_measured", [True, False], ids=["measured", "not run yet"])
def test_it_refuses_and_says_what_to_do(change, is_measured):
    module = tiny_model("residual")
    network = Network(module, SHAPE if is_measured else None)
    change(module)
    for explain in (network, lambda inputs: attribution.saliency(network, inputs, torch.tensor([0, 1, 2]))):
        with pytest.raises(NetworkError, match=r"weights have changed since it was wrapped .*wrap it again"):
            explain(images())
    again = Network(module.eval(), SHAPE)
    torch.testing.assert_close(again(images()), copy.deepcopy(module)(images()))


@pytest.mark.parametrize("name", MODELS)
def test_what_leaves_the_weights_alone_is_no_change(name):
    module = tiny_model(name)
    network = Network(module, SHAPE)
    module.train()(images())
    module.requires_grad_(False)
    module.zero_grad()
    assert network(images()).isfinite().all()
    assert network.explaining("probability")(images()).isfinite().all()
