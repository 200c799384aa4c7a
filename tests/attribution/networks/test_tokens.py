"""Which tokens are patches, and where: what the graph says against what gradients of pixels say."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

import attribution
from attribution import Network
from attribution.errors import InvalidOption
from tests.attribution.methods.slow_attention import forward
from tests.attribution.transformers import FORMS, OF_LIBRARIES, SHAPE, Renamed, images, tiny_swin, tiny_vit

EMBEDDED = {"torchvision": "encoder.add", "timm": "add"}
TARGET = torch.tensor([0, 2, 1])


class Keeping(torch.fx.Interpreter):
    def __init__(self, graph, node) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.node = node

    def values(self, image):
        self.run(image)
        return self.env[self.node]


def seen_by(network, layer, row, column, shape):
    """The middle and size of the pixels that a unit changes with."""
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    values = Keeping(network.graph, network.nodes[layer]).values(image)
    [gradient] = torch.autograd.grad(network.placements()[layer].maps(values)[0, :, row, column].sum(), image)
    rows, columns = gradient[0].abs().sum(0).nonzero(as_tuple=True)
    return [((float(at.min()) + float(at.max()) + 1) / 2, int(at.max() - at.min()) + 1) for at in (rows, columns)]


def assert_placed(network, layer, shape):
    placement = network.placements()[layer]
    for row in range(placement.sizes[0]):
        for column in range(placement.sizes[1]):
            found = seen_by(network, layer, row, column, shape)
            for axis, place in enumerate((row, column)):
                middle = placement.lattice.start[axis] + place * placement.lattice.stride[axis]
                assert found[axis] == (middle, placement.lattice.receptive_field[axis]), (layer, row, column)


@pytest.mark.parametrize("name", OF_LIBRARIES)
def test_patches_lie_where_they_were_cut_out_of_the_image(name):
    network = Network(OF_LIBRARIES[name](), (3, 8, 8))
    placement = network.placements()[EMBEDDED[name]]
    assert (placement.axes, placement.sizes, placement.first) == ((1,), (4, 4), 1)
    assert_placed(network, EMBEDDED[name], (3, 8, 8))


@pytest.mark.parametrize("form", FORMS)
def test_tokens_keep_their_place_through_every_way_of_writing_attention_and_see_all_of_the_image(form):
    network = Network(tiny_vit(form), SHAPE)
    before = "something." if form == "renamed" else ""
    for block in range(2):
        for layer in ("add", "add:2"):
            placement = network.placements()[f"{before}blocks.{block}.{layer}"]
            assert (placement.sizes, placement.first, placement.is_read) == ((3, 3), 1, True)
            assert placement.lattice == ((1.0, 1.0), (2.0, 2.0), (12.0, 12.0))


def test_behind_the_last_attention_nobody_reads_the_patches_of_a_class_token_classifier():
    network = Network(tiny_vit(), SHAPE)
    read = {name: one.is_read for name, one in network.placements().items()}
    assert read["blocks.1.add:2"]
    assert read["blocks.2.first"]
    assert not any(read[name] for name in ("blocks.2.attention", "blocks.2.add", "blocks.2.add:2", "norm"))
    with pytest.raises(InvalidOption, match="nobody reads the patch tokens of layers"):
        attribution.cam(network, images(), TARGET, layers=["blocks.2.add:2"])
    assert list(attribution.cam(network, images(), TARGET).maps["grad_cam"]) == ["blocks.1.add:2"]
    every = attribution.cam(network, images(), TARGET, layers="all").maps["grad_cam"]
    assert "blocks.2.first" in every
    assert not {"blocks.2.add", "norm"} & every.keys()


def test_the_last_layer_is_the_end_of_the_last_block_that_is_read_however_many_there_are():
    network = Network(tiny_vit(depth=12), SHAPE)
    assert list(attribution.cam(network, images(), TARGET).maps["grad_cam"]) == ["blocks.10.add:2"]


def test_the_mean_over_the_patches_reads_them_to_the_end():
    network = Network(tiny_vit(reads="mean"), SHAPE)
    assert all(one.is_read for one in network.placements().values())
    assert list(attribution.cam(network, images(), TARGET).maps["grad_cam"]) == ["blocks.2.add:2"]


def test_of_a_head_of_zeros_nothing_is_said():
    torch.manual_seed(0)
    module = VisionTransformer(image_size=8, patch_size=2, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8)
    assert all(one.is_read for one in Network(module, (3, 8, 8)).placements().values())


class Shuffled(nn.Module):
    """Puts the tokens into another order in the middle."""

    def __init__(self, shuffle) -> None:
        super().__init__()
        self.inner, self.shuffle = tiny_vit(), shuffle

    def forward(self, x):
        x = self.inner.patches(x).flatten(2).transpose(1, 2)
        x = self.inner.blocks[0](x)
        x = self.inner.blocks[1](self.shuffle(x))
        return self.inner.head(self.inner.norm(x).mean(1))


@pytest.mark.parametrize(
    "shuffle",
    [
        lambda x: x.flip(1),
        lambda x: x[:, torch.tensor([8, 1, 2, 3, 4, 5, 6, 7, 0])],
        lambda x: x.roll(1, 1),
        lambda x: x + x.flip(1),
        lambda x: x.transpose(1, 2).reshape(x.shape[0], 9, 8),
        lambda x: x.reshape(x.shape[0], 3, 3, 8).transpose(1, 2).reshape(x.shape[0], 9, 8),
    ],
)
def test_tokens_in_an_order_that_is_not_followed_have_no_place(shuffle):
    network = Network(Shuffled(shuffle), SHAPE)
    placements = network.placements()
    assert "inner.blocks.0.add:2" in placements
    assert "inner.blocks.1.add:2" not in placements
    found = attribution.layer_shapley(network, images(), TARGET, background=0 * images(1), n_steps=2)
    assert "inner.blocks.1.add:2" in found.scores
    assert "inner.blocks.1.add:2" not in found.maps


def test_class_activation_maps_of_tokens_are_those_of_their_patches():
    module, inputs = tiny_vit(), images()
    outputs, _, tokens = forward(module, inputs.clone().requires_grad_())
    for row, target in enumerate(TARGET.tolist()):
        (gradient,) = torch.autograd.grad(outputs[row, target], tokens[1], retain_graph=True)
        values, slopes = (one[row, 1:].detach().T.reshape(8, 3, 3) for one in (tokens[1], gradient))
        expected = (slopes.mean((1, 2))[:, None, None] * values).sum(0)
        found = attribution.cam(Network(module, SHAPE), inputs, TARGET, layers=["blocks.1.add:2"])
        torch.testing.assert_close(found.maps["grad_cam"]["blocks.1.add:2"][row], expected, rtol=1e-8, atol=1e-12)


def still(module):
    """Swin without what attention adds, so that each unit sees its own pixels alone."""
    for name, parameter in module.named_parameters():
        if "attn.proj" in name:
            nn.init.zeros_(parameter)
    return module


def test_the_units_of_swin_lie_channels_last_and_are_merged_two_by_two():
    network = Network(still(tiny_swin()), (3, 16, 16))
    for layer, size in {
        "features.1.1.add:2": (8, 8),
        "features.2.reduction": (4, 4),
        "features.3.1.add:2": (4, 4),
    }.items():
        placement = network.placements()[layer]
        assert (placement.axes, placement.sizes) == ((1, 2), size)
        for row, column in ((0, 0), (1, 2), (3, 1)):
            found = seen_by(network, layer, row, column, (3, 16, 16))
            for axis, place in enumerate((row, column)):
                assert found[axis][0] == placement.lattice.start[axis] + place * placement.lattice.stride[axis]


def test_tokens_are_renamed_with_their_modules():
    plain, renamed = (Network(module, SHAPE) for module in (tiny_vit(), Renamed(tiny_vit())))
    assert {f"something.{name}" if name != "input" else name: one for name, one in plain.placements().items()} == dict(
        renamed.placements()
    )
