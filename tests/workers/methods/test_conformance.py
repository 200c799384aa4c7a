"""What holds of every method, over the table of tiny networks: a method joins by its line in the table of methods."""

import copy
from functools import cache

import pytest
import torch

import attribution
from attribution.errors import AttributionError, Cancelled
from attribution_contracts.methods import METHODS as PARAMS
from attribution_contracts.models import Preprocessing
from tests.attribution.tiny_models import DTYPES, MODELS, N_CLASSES, SHAPE, images, tiny_model
from tests.attribution.transformers import tiny_vit
from tests.workers.rows import row
from workers.methods.calls import Alone, Call, Explained
from workers.methods.table import METHODS

FIT = "0" * 64
REQUIRED = {
    "decomposition": {"fit": FIT},
    "feature_visualization": {"n_steps": 3, "channels": [0, 1]},
    "inversion": {"n_steps": 3, "n_starts": 2},
}
"""Parameters without a default, or less than it of methods that take many steps."""
OWN = {"attention": "attending"}
"""Networks of methods that do not apply to the others."""
EVERY = pytest.mark.parametrize("method", sorted(METHODS))
EVERY_OF_IMAGES = pytest.mark.parametrize(
    "method", [name for name in sorted(METHODS) if PARAMS[name].takes == "images"]
)
PREPROCESSING = Preprocessing(color="grey", size=SHAPE[1:], mean=[0.5], std=[0.25])


def module_of(name, dtype=torch.float64):
    return tiny_vit().to(dtype) if name == "attending" else tiny_model(name, dtype)


@cache
def network_of(name, dtype=torch.float64):
    return attribution.Network(module_of(name, dtype), SHAPE)


@cache
def fit_of(name, dtype=torch.float64):
    pictures = images(12, dtype)
    labels = torch.arange(12) % N_CLASSES
    return attribution.influential_features(network_of(name, dtype), [(pictures, labels)]).to_bytes()


def explain(method, name, inputs, *, network=None, seed=0, progress=lambda done, total: None, **params) -> Explained:
    dtype = inputs.dtype
    network = network_of(name, dtype) if network is None else network
    alone = None
    if PARAMS[method].takes == "none":
        inputs, alone = inputs[:0], Alone(seed, PREPROCESSING, {}, lambda _: pytest.fail("nothing names an image"))
    given = PARAMS[method].model_validate({"method": method, **REQUIRED.get(method, {}), **params})
    k = 1 if given.class_field() == "target" else 0
    target = network.logits(inputs).argmax(1, keepdim=True)[:, :k] if len(inputs) else torch.empty(0, 0).long()
    rows = [row(position, one, PREPROCESSING, seed) for position, one in enumerate(inputs)]
    return METHODS[method].run(
        Call(network, rows, inputs, target, given, progress, 2**30, lambda _: fit_of(name, dtype), alone=alone)
    )


def applies(method, name):
    return attribution.applicable_methods(network_of(name))[method] is None


def of(explained):
    return {(one.field, one.layer, one.part): one.values for one in explained.outputs}


def assert_alike(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        scale = float(values[values.isfinite()].abs().max()) if values.isfinite().any() else 1.0
        torch.testing.assert_close(
            found[key].double(), values.double(), rtol=tolerance, atol=tolerance * (scale or 1.0), equal_nan=True
        )


@EVERY
@pytest.mark.parametrize("name", [*MODELS, "attending"])
def test_it_explains_or_says_why_not(method, name):
    if not applies(method, name):
        with pytest.raises(AttributionError):
            explain(method, name, images(2))
        return
    explained = explain(method, name, images(2))
    assert explained.outputs or explained.figures[0].wire  # features without places have contributions alone
    assert len(explained.figures) == (2 if PARAMS[method].takes == "images" else 1)
    assert all(one.field in METHODS[method].outputs for one in explained.outputs)
    assert explained.chunk_size >= 1


@EVERY_OF_IMAGES
@pytest.mark.parametrize("name", ["residual", "max_pool", "smooth", "viewed", "attending"])
def test_an_image_has_the_same_map_alone_and_among_sixteen(method, name):
    if not applies(method, name):
        pytest.skip("it does not apply")
    inputs = images(16)
    together = of(explain(method, name, inputs))
    for position in (0, 7, 15):
        alone = of(explain(method, name, inputs[position : position + 1]))
        assert_alike(alone, {key: values[position : position + 1] for key, values in together.items()}, 1e-9)


@EVERY
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_gives_the_map_of_float64(method, dtype):
    expected = of(explain(method, OWN.get(method, "batch_norm"), images(2).to(dtype).double()))
    found = of(explain(method, OWN.get(method, "batch_norm"), images(2).to(dtype)))
    if dtype is torch.bfloat16:
        assert found.keys() == expected.keys()  # squared and summed, eight bits say little of a value
    else:
        assert_alike(found, expected, 10 * DTYPES[dtype])


@EVERY
def test_the_same_seed_gives_the_same_map(method):
    first, again = (explain(method, OWN.get(method, "plain"), images(2), seed=7) for _ in range(2))
    assert all(torch.equal(values, of(again)[key]) for key, values in of(first).items())
    assert first.figures == again.figures


@EVERY
def test_the_module_stays_as_it_was(method):
    module = module_of(OWN.get(method, "residual"))
    before, flags = copy.deepcopy(module.state_dict()), [part.training for part in module.modules()]
    explain(method, OWN.get(method, "residual"), images(2), network=attribution.Network(module, SHAPE))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [part.training for part in module.modules()] == flags
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())
    assert_no_hooks(module)


@EVERY
def test_a_cancelled_call_leaves_nothing_behind(method):
    def stop(done, total):
        raise Cancelled("enough")

    network = network_of(OWN.get(method, "residual"))
    first = of(explain(method, OWN.get(method, "residual"), images(2)))
    with pytest.raises(Cancelled):
        explain(method, OWN.get(method, "residual"), images(2), progress=stop)
    assert_no_hooks(network.module)
    assert_no_hooks(network.graph)
    assert all(
        torch.equal(values, first[key])
        for key, values in of(explain(method, OWN.get(method, "residual"), images(2))).items()
    )


@EVERY
def test_progress_only_grows_and_ends_at_all_of_it(method):
    told = []
    explain(method, OWN.get(method, "plain"), images(3), progress=lambda done, total: told.append(done / total))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


@EVERY_OF_IMAGES
def test_the_callers_tensors_stay_as_they_were(method):
    inputs = images(2)
    before = inputs.clone()
    explain(method, OWN.get(method, "in_place_first"), inputs)
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad


def assert_no_hooks(module):
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not [name for part in module.modules() for name in tables if getattr(part, name)]
