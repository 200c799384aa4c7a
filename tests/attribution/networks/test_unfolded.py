"""Functions that a graph takes as one operation: what is in them, for which sizes, and what cannot be seen."""

import operator

import pytest
import torch
from torch import fx
from torch.nn import functional
from torchvision.models.swin_transformer import shifted_window_attention

from attribution.errors import NetworkError
from attribution.networks.unfolded import is_unfoldable, unfolded
from tests.attribution.transformers import images, tiny_swin


def looked_into(function, value, *others):
    node = fx.Graph()
    taken = node.placeholder("x")
    return unfolded(node.call_function(function, (taken, *others)), {taken: value}, {})


def unpacked(x):
    n, channels, *rest = x.shape
    first, second = x.chunk(2, dim=1)
    halves = [one.flatten(1).mT for one in (first, second)]
    assert len(x) == n == x.size(0) == len(first)
    return torch.cat(halves, -1) * (channels + len(rest)) + x.new_ones(1)


def test_sizes_are_numbers_and_parts_are_followed():
    inputs = images(2, shape=(4, 3, 5))
    graph = looked_into(unpacked_of_two, inputs)
    torch.testing.assert_close(graph(inputs), unpacked_of_two(inputs), rtol=0, atol=0)
    torch.testing.assert_close(graph(2 * inputs), unpacked_of_two(2 * inputs), rtol=0, atol=0)


def unpacked_of_two(x):
    return unpacked(x.transpose(0, 1)[:, :, 0])


def test_the_windows_of_swin_come_out_as_they_are():
    attention, x = tiny_swin().features[1][1].attn, images(2, shape=(8, 8, 8))
    given = (
        attention.qkv.weight.detach(),
        attention.proj.weight.detach(),
        attention.get_relative_position_bias().detach(),
        attention.window_size,
        attention.num_heads,
        attention.shift_size,
    )
    call = fx.Graph()
    taken = [call.placeholder(str(place)) for place in range(4)]
    node = call.call_function(shifted_window_attention, (*taken, *given[3:]), {"training": False})
    graph = unfolded(node, {taken[0]: x}, dict(zip(taken[1:], given[:3], strict=True)))
    expected = shifted_window_attention(x, *given, training=False)
    torch.testing.assert_close(graph(x), expected, rtol=0, atol=0)
    assert not torch.equal(graph(x.flip(1)), expected)
    assert [node.name for node in graph.graph.find_nodes(op="placeholder")] == ["value"]


def nothing(_):
    return None


def the_same(x):
    return x


def test_what_returns_nothing_or_its_argument_does_so():
    values = torch.ones(2)
    assert looked_into(nothing, values)(values) is None
    assert looked_into(the_same, values)(values) is values


def deciding(x):
    return x if float(x.sum()) > 0 else -x


def changing(x):
    x[0] = 0
    return x


def changing_its_own(x):
    mask = x.new_zeros(len(x))
    mask[0] = 1
    return x * mask


def test_what_decides_by_values_or_changes_them_is_refused_and_masks_of_its_own_are_not():
    values = torch.ones(2)
    with pytest.raises(NetworkError, match="deciding cannot be looked into"):
        looked_into(deciding, values)
    with pytest.raises(NetworkError, match="changes value in place"):
        looked_into(changing, values.clone())
    assert looked_into(changing_its_own, values)(3 * values).tolist() == [3, 0]


def test_functions_of_torch_are_what_they_are():
    graph = fx.Graph()
    x = graph.placeholder("x")
    unfoldable = [
        is_unfoldable(graph.call_function(one, (x,)))
        for one in (functional.softmax, torch.roll, operator.neg, nothing, shifted_window_attention)
    ]
    assert unfoldable == [False, False, False, True, True]
    assert not is_unfoldable(graph.call_method("view", (x, -1)))
