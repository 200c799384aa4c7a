import pytest
import torch
from torch import fx, nn

from attribution.networks.graph import NotTraceable, cuts, tensor_nodes, traced
from attribution.networks.inplace import make_out_of_place
from attribution.networks.layers import layer_kind
from tests.attribution.tiny_models import MODELS, images, tiny_model


def paths(node, nodes):
    """Every path from a node to the output, by walking them all."""
    if node.op == "output":
        return [{node}]
    return [{node} | path for user in node.users if user in nodes or user.op == "output" for path in paths(user, nodes)]


class Tangle(nn.Module):
    def forward(self, x):
        a = torch.sin(x)
        b = torch.cos(a) * x.size(1)
        c = torch.tanh(a) + b
        torch.exp(c)
        d = torch.relu(c)
        e = d.view(d.size(0), -1)
        return e * e.sum(1, keepdim=True) + d.flatten(1)


@pytest.mark.parametrize("module", [Tangle(), tiny_model("residual"), tiny_model("concatenation")])
def test_cuts_are_the_nodes_on_every_path(module):
    graph = traced(module.eval())
    nodes = tensor_nodes(graph)
    placeholder = next(iter(nodes))
    assert cuts(graph, nodes) == set.intersection(*paths(placeholder, nodes)) - {graph.graph.output_node()}


def function(body):
    class Wrapped(nn.Module):
        def forward(self, x):
            return body(x)

    return Wrapped()


def set_plane(x):
    y = x * 2
    y[:, 0] = 0.5
    return y.flatten(1)


def alias_of_sum(x):
    y = z = x * 2
    y += x
    y -= 1.0
    y *= x
    y /= 3.0
    n = m = x.size(0)
    n += 1
    return (y + z * n + m).flatten(1)


def shared_by_dropout(x):
    y = nn.functional.dropout(x * 2, training=False)
    z = y
    y.mul_(3)
    return (y + z).flatten(1)


def filled(x):
    y, z = x * 2, x * 3
    y.fill_(1.5)
    z.copy_(x[:, :1])
    return (y + z + x).flatten(1)


IN_PLACE = {
    "statement": lambda x: (y := x * 2, y.add_(1), y.flatten(1))[2],
    "item": set_plane,
    "operators": alias_of_sum,
    "dropout": shared_by_dropout,
    "fill": filled,
    "function": lambda x: torch.relu_(nn.functional.elu_(x * 1)).flatten(1),
    "positional": lambda x: nn.functional.leaky_relu(x, 0.3, True).flatten(1),
    "aten": lambda x: torch.ops.aten.add_.Tensor(torch.ops.aten.relu_(x), 1.0).flatten(1),
    "view of what is read no more": lambda x: torch.relu_((x * 2).view(x.size(0), -1)),
}


@pytest.mark.parametrize("body", IN_PLACE.values(), ids=IN_PLACE)
def test_in_place_operations_leave_their_argument_alone(body):
    graph = traced(function(body))
    assert make_out_of_place(graph)
    inputs = images()
    assert torch.equal(graph(inputs), body(images()))
    assert torch.equal(inputs, images())


def test_a_view_that_is_read_later_is_refused():
    def body(x):
        y = x * 2
        y[:, 0].add_(1)
        return y.flatten(1)

    with pytest.raises(NotTraceable, match="views"):
        make_out_of_place(traced(function(body)))


def test_methods_without_counterpart_are_refused():
    with pytest.raises(NotTraceable, match="no counterpart"):
        make_out_of_place(traced(function(lambda x: (x * 1).uniform_().flatten(1))))


def test_several_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, first, second):
            return first + second

    with pytest.raises(NotTraceable, match="second"):
        traced(Two())


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.traced])
def test_no_in_place_operation_remains(name):
    graph = traced(tiny_model(name).eval())
    make_out_of_place(graph)
    assert make_out_of_place(graph) == ()
    assert isinstance(graph, fx.GraphModule)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("conv2d", "conv"),
        ("convtranspose2d", "conv"),
        ("max_pool2d", "pooling"),
        ("mean", "pooling"),
        ("groupnorm", "normalisation"),
        ("multiheadattention", "attention"),
        ("hard_tanh", "activation"),
        ("log_softmax", "activation"),
        ("add", "addition"),
        ("cat", "concatenation"),
        ("einsum", "other"),
    ],
)
def test_layer_kinds(name, kind):
    assert layer_kind(name) == kind
