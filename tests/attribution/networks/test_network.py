import copy
from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn

import attribution
from attribution.errors import InvalidInput, InvalidOption, NetworkError
from tests.attribution.tiny_models import DTYPES, MODELS, N_CLASSES, SHAPE, images, tiny_model


def state(module):
    """Everything that explaining must leave alone."""
    return (
        {name: value.clone() for name, value in module.state_dict().items()},
        [part.training for part in module.modules()],
        [parameter.requires_grad for parameter in module.parameters()],
        [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in module.modules()],
        [getattr(part, "inplace", None) for part in module.modules()],
        [parameter.grad for parameter in module.parameters()],
    )


def same(first, second):
    return first[1:] == second[1:] and all(torch.equal(first[0][name], second[0][name]) for name in first[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_computes_what_the_module_computes_and_changes_nothing(name, dtype):
    module = tiny_model(name, dtype)
    before = state(module)
    inputs = images(dtype=dtype)
    given = inputs.clone()
    network = attribution.Network(module, SHAPE)
    found = network(inputs)
    assert torch.equal(inputs, given)
    assert same(state(module), before)
    assert network.report().traced is MODELS[name].traced
    expected = copy.deepcopy(module).eval()(inputs.clone())
    torch.testing.assert_close(found, expected.detach(), rtol=DTYPES[dtype], atol=DTYPES[dtype])
    assert not found.requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_inputs_that_ask_for_gradients_are_neither_overwritten_nor_refused(name):
    inputs = images().requires_grad_()
    given = inputs.detach().clone()
    attribution.Network(tiny_model(name))(inputs).sum().backward()
    assert torch.equal(inputs, given)
    assert inputs.grad is not None


def test_parameters_share_memory_and_buffers_do_not():
    module = tiny_model("batch_norm")
    network = attribution.Network(module)
    assert network.module[0].weight.data_ptr() == module[0].weight.data_ptr()
    assert network.module[1].running_mean.data_ptr() != module[1].running_mean.data_ptr()
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.traced])
def test_a_tensor_taken_at_a_layer_is_that_layers_output(name):
    """Also where the module would have changed it in place afterwards."""
    network = attribution.Network(tiny_model(name), SHAPE)
    kept, copies = {}, {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n):
            kept[n] = super().run_node(n)
            copies[n] = torch.as_tensor(kept[n]).clone()
            return kept[n]

    Recorder(network.graph).run(images())
    assert all(torch.equal(torch.as_tensor(kept[node]), copies[node]) for node in kept)


def test_layers_are_calls_in_forward_order():
    network = attribution.Network(tiny_model("reused_relu"), SHAPE)
    assert [layer.name for layer in network.layers] == ["first", "relu", "second", "relu:2", "head.0", "head.1"]
    assert [layer.kind for layer in network.layers] == [
        "conv",
        "activation",
        "conv",
        "activation",
        "flatten",
        "linear",
    ]
    assert network.layers[0].shape == (4, 6, 6)
    assert all(layer.cuts for layer in network.layers)
    assert list(network.nodes) == [layer.name for layer in network.layers]


def test_shapes_are_known_after_the_first_call_without_an_input_shape():
    network = attribution.Network(tiny_model("plain"))
    assert {layer.shape for layer in network.layers} == {None}
    network(images())
    assert network.layers[-1].shape == (N_CLASSES,)


def test_functions_are_named_after_their_owner_and_branches_do_not_cut():
    layers = {layer.name: layer for layer in attribution.Network(tiny_model("residual"), SHAPE).layers}
    assert {name for name, layer in layers.items() if not layer.cuts} == {"conv1", "bn1", "relu", "conv2", "bn2"}
    assert layers["add"].kind == "addition"
    resnet = attribution.Network(torchvision.models.resnet18(weights=None))
    names = [layer.name for layer in resnet.layers if layer.cuts]
    assert names[:6] == ["conv1", "bn1", "relu", "maxpool", "layer1.0.add", "layer1.0.relu:2"]
    assert names[-3:] == ["avgpool", "flatten", "fc"]


def test_report():
    network = attribution.Network(tiny_model("residual"), SHAPE)
    report = network.report()
    reasons = attribution.applicable_methods(network)
    assert {method for method, reason in reasons.items() if reason is not None} == {"attention"}
    assert report.in_place == ("relu", "add", "relu:2")
    assert report.reused == ("relu",)
    assert report.linear_head == ("head.1", 144, N_CLASSES)
    assert report.n_classes == N_CLASSES
    assert report.warnings == ()
    functional = attribution.Network(tiny_model("functional_in_place")).report()
    assert functional.functional == functional.in_place == ("relu",)
    assert functional.n_classes == N_CLASSES


def test_report_says_why_a_module_has_no_layers():
    report = attribution.Network(tiny_model("untraceable"), SHAPE).report()
    assert not report.traced
    assert report.layers == ()
    assert report.linear_head is None
    assert "TraceError" in report.reason or "TypeError" in report.reason
    assert report.reason in report.warnings[0]


def test_a_graph_that_computes_something_else_is_given_up():
    class TwoFaced(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(72, N_CLASSES)

        def forward(self, x):
            return self.linear(x.flatten(1)) * (2 if isinstance(x, torch.Tensor) else 5)

    network = attribution.Network(TwoFaced().double())
    network(images())
    assert not network.report().traced
    assert "other outputs" in network.report().reason


def test_a_softmax_at_the_end_is_reported():
    module = nn.Sequential(tiny_model("plain"), nn.Softmax(dim=1))
    report = attribution.Network(module, SHAPE).report()
    assert report.link == "none"
    assert "probabilities already" in report.warnings[0]


def test_outputs():
    module, inputs = tiny_model("plain"), images()
    logits = attribution.Network(module)(inputs)
    probabilities = attribution.Network(module, output="probability")
    torch.testing.assert_close(probabilities(inputs), logits.softmax(1))
    torch.testing.assert_close(probabilities.logits(inputs), logits)
    torch.testing.assert_close(probabilities.explaining("log_probability")(inputs), logits.log_softmax(1))
    assert probabilities.output == "probability"


def test_hooks_stay_behind_but_for_those_that_compute_a_weight():
    module = tiny_model("plain")
    seen = []
    module[0].register_forward_hook(lambda *arguments: seen.append(1))
    nn.utils.spectral_norm(module[2][1]).eval()
    network = attribution.Network(module.eval(), SHAPE)
    expected = module(images())
    seen.clear()
    torch.testing.assert_close(network(images()), expected.detach())
    assert seen == []
    assert "hooks that change nothing were left behind: 0 (" in network.report().warnings[0]
    assert "2.1.weight" in network.report().warnings[1]


def test_parametrisations_wrappers_and_flags_with_defaults():
    class Flagged(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.utils.parametrizations.weight_norm(tiny_model("plain")[2][1], "weight")

        def forward(self, x, features=False, *, scale=2.0):
            x = x.repeat(1, 2, 1, 1).flatten(1)
            return x if features else self.body(x) * scale

    module = Flagged()
    network = attribution.Network(nn.DataParallel(module))
    assert network.report().traced
    torch.testing.assert_close(network(images()), module(images()).detach())


def test_exported_modules_have_layers_and_a_head():
    module = tiny_model("residual").eval()
    batch = torch.export.Dim("batch", min=1, max=8)
    exported = torch.export.export(module, (images(),), dynamic_shapes=({0: batch},)).module()
    network = attribution.Network(exported, SHAPE)
    torch.testing.assert_close(network(images()), module(images()).detach())
    report = network.report()
    assert report.traced
    assert report.linear_head == ("linear", 144, N_CLASSES)
    assert "add" in report.in_place


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_refused_with_what_to_give_instead():
    scripted = torch.jit.trace(tiny_model("plain").eval(), images())
    with pytest.raises(NetworkError, match=r"torch\.export"):
        attribution.Network(scripted)


def test_an_exception_on_the_way_leaves_the_module_as_it_was():
    module = tiny_model("plain")
    before = state(module)
    with pytest.raises(NetworkError, match="fails on inputs of shape"):
        attribution.Network(module, (2, 9, 9))
    with pytest.raises(NetworkError, match="fails on inputs of shape"):
        attribution.Network(module)(torch.zeros(1, 2, 7, 7, dtype=torch.float64))
    assert same(state(module), before)


class Returns(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.body, self.change = tiny_model("plain"), change

    def forward(self, x):
        return self.change(self.body(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: (logits, logits), "returns a tuple"),
        (lambda logits: OrderedDict(out=logits), "expected one tensor"),
        (lambda logits: logits[:, :, None, None], r"expected \(1, classes\)"),
        (lambda logits: logits.sum(), "returns shape"),
    ],
)
def test_what_returns_no_logits_is_refused(change, message):
    with pytest.raises(NetworkError, match=message):
        attribution.Network(Returns(change), SHAPE)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([1.0], "expected a torch.Tensor"),
        (images()[0], "unsqueeze"),
        (images()[:0], "none of them 0"),
        (images().float(), "use .to"),
        (images().long(), "int64"),
        (images() * float("nan"), "NaN"),
        (images().to("meta"), "on meta"),
    ],
)
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(InvalidInput, match=message):
        attribution.Network(tiny_model("plain")).require_images(inputs)


def test_unknown_output_and_lazy_modules_are_refused():
    with pytest.raises(InvalidOption, match="expected one of logit, probability"):
        attribution.Network(tiny_model("plain"), output="odds")
    with pytest.raises(NetworkError, match="run the module once"):
        attribution.Network(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))


@pytest.mark.parametrize(
    "name",
    ["alexnet", "squeezenet1_1", "densenet121", "mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet", "swin_t"],
)
def test_torchvision_families_trace(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    module = getattr(torchvision.models, name)(weights=None, num_classes=4, **options)
    network = attribution.Network(module, (3, 64, 64))
    assert network.report().traced
    assert network.n_classes == 4
    assert len({layer.name for layer in network.layers}) == len(network.layers)
    assert all(layer.shape is not None for layer in network.layers)
