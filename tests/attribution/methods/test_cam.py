"""Class activation maps against sums written from the papers, closed forms and Captum."""

import copy

import captum.attr
import pytest
import torch
from torch import nn

import attribution
from attribution import Network
from attribution.errors import InvalidOption, InvalidTarget, NetworkError, OutOfMemory
from attribution.layerwise.cams import VARIANTS
from tests.attribution.tiny_models import MODELS, N_CLASSES, SHAPE, hungry, images, tiny_model

TARGET = torch.tensor([0, 2, 1])
TRACED = [name for name, model in MODELS.items() if model.traced]


def explain(module, inputs=None, target=TARGET, **options):
    inputs = images() if inputs is None else inputs
    options.setdefault("variants", VARIANTS)
    return attribution.cam(Network(module, inputs.shape[1:]), inputs, target, **options)


def values_and_gradients(module, layer, image, target):
    """Of one layer of a copy of the module, by hooks."""
    module, kept = copy.deepcopy(module).eval(), []

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept.append(output)
        return output.clone()

    dict(module.named_modules())[layer].register_forward_hook(keep)
    module(image.clone().unsqueeze(0).requires_grad_())[0, target].backward()
    return kept[0].detach()[0], kept[0].grad[0]


def slow_cam(variant, values, gradients):
    """Channel by channel and place by place, as the papers have it."""
    total = torch.zeros_like(values[0])
    for a, g in zip(values, gradients, strict=True):
        if variant == "grad_cam":
            total += float(g.sum()) / g.numel() * a
        elif variant == "hires_cam":
            total += g * a
        elif variant == "layer_cam":
            total += g.clamp(min=0) * a
        elif variant == "x_grad_cam":
            below = float(a.sum())
            total += (float((g * a).sum()) / below if below else 0.0) * a
        else:
            weight = 0.0
            for slope in g.flatten().tolist():
                below = 2 * slope**2 + float(a.sum()) * slope**3
                weight += (slope**2 / below if below else 0.0) * max(slope, 0.0)
            total += weight * a
    return total


@pytest.mark.parametrize("name", ["plain", "residual", "batch_norm", "reused_relu"])
def test_every_variant_of_every_convolution_is_what_its_paper_says(name):
    module, inputs = tiny_model(name), images()
    found = explain(module, inputs, layers="conv")
    layers = [layer for layer, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    assert list(found.maps) == list(VARIANTS)
    assert set(found.maps["grad_cam"]) == set(layers)
    for layer in layers:
        for row in range(3):
            known = values_and_gradients(module, layer, inputs[row], int(TARGET[row]))
            for variant in VARIANTS:
                expected = slow_cam(variant, *known)
                torch.testing.assert_close(found.maps[variant][layer][row], expected, rtol=1e-6, atol=1e-9)


def test_equals_captum_where_modules_are_plain():
    module, inputs = tiny_model("plain"), images()
    own = copy.deepcopy(module).eval()
    theirs = captum.attr.LayerGradCam(own, own[0]).attribute(inputs, target=TARGET, relu_attributions=False)
    found = explain(module, inputs, layers=["0"]).maps["grad_cam"]["0"]
    torch.testing.assert_close(found, theirs[:, 0].detach(), rtol=1e-6, atol=1e-9)


def test_before_a_mean_over_places_grad_cam_is_hires_cam_and_adds_up_to_the_output_without_its_bias():
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, N_CLASSES)]
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), *head).double()
    found = explain(module, layers="last").maps
    assert list(found["grad_cam"]) == ["1"]
    torch.testing.assert_close(found["grad_cam"]["1"], found["hires_cam"]["1"])
    outputs = copy.deepcopy(module).eval()(images())[torch.arange(3), TARGET] - module[4].bias[TARGET]
    torch.testing.assert_close(found["hires_cam"]["1"].sum((1, 2)), outputs.detach())


@pytest.mark.parametrize("name", TRACED)
def test_every_trap_network_has_the_map_of_its_plain_gradient(name):
    """At the image itself hires_cam is the image times its gradient, whatever the network does in place."""
    module, inputs = tiny_model(name), images()
    found = explain(module, inputs, variants="hires_cam", layers=["input"]).maps["hires_cam"]["input"]
    expected = attribution.input_x_gradient(Network(module, SHAPE), inputs, TARGET).maps.sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("variant", ["grad_cam", "hires_cam", "x_grad_cam"])
def test_one_class_against_another_is_the_difference_of_both_maps(variant):
    module, against = tiny_model("residual"), torch.tensor([1, 0, 2])
    found, own, other = (
        explain(module, target=target, variants=variant, layers="stages", **more).maps[variant]
        for target, more in ((TARGET, {"against": against}), (TARGET, {}), (against, {}))
    )
    for layer, values in found.items():
        torch.testing.assert_close(values, own[layer] - other[layer], rtol=0, atol=1e-9)


def test_images_and_classes_do_not_depend_on_each_other():
    module, inputs = tiny_model("residual"), images(5)
    target = torch.stack([torch.arange(5) % N_CLASSES, (torch.arange(5) + 1) % N_CLASSES], dim=1)
    together = explain(module, inputs, target, layers="stages", chunk_size=2).maps
    for row in range(5):
        for place in range(2):
            alone = explain(module, inputs[row : row + 1], target[row : row + 1, place], layers="stages").maps
            for variant in VARIANTS:
                for layer, values in alone[variant].items():
                    expected = together[variant][layer][row, place]
                    torch.testing.assert_close(values[0], expected, rtol=1e-8, atol=1e-10)


def test_fused_layers_are_the_mean_of_their_maps_over_the_image():
    module = tiny_model("max_pool")
    apart = explain(module, variants="layer_cam", layers=["0", "2"]).maps["layer_cam"]
    fused = explain(module, variants="layer_cam", layers=["0", "2"], fuse=True).maps["layer_cam"]
    # Its pooled units lie where stretching puts them.
    stretched = [nn.functional.interpolate(one[:, None], SHAPE[1:], mode="bilinear")[:, 0] for one in apart.values()]
    torch.testing.assert_close(fused["fused"], torch.stack(stretched).mean(0))


def test_a_fused_map_is_highest_where_the_units_of_its_layers_look():
    module = nn.Sequential(nn.Conv2d(1, 1, 3, stride=4, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.ones_(module[0].weight.data)
    inputs = torch.zeros(1, 1, 16, 16)
    inputs[..., 7:10, 11:14] = 1.0
    fused = explain(module, inputs, torch.tensor([0]), variants="grad_cam", layers=["0"], fuse=True)
    assert divmod(int(fused.maps["grad_cam"]["fused"].argmax()), 16) == (8, 12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"variants": "cam"}, InvalidOption, "variants is 'cam', expected one of grad_cam"),
        ({"variants": []}, InvalidOption, "variants is empty"),
        ({"layers": ["2.1"]}, InvalidOption, "have no channels, height and width"),
        ({"layers": ["conv9"]}, InvalidOption, "names 'conv9'"),
        ({"target": torch.tensor([0, 1, 7])}, InvalidTarget, "target contains 7"),
        ({"against": TARGET}, InvalidTarget, "against itself"),
    ],
)
def test_bad_options_are_told(options, error, message):
    with pytest.raises(error, match=message):
        explain(tiny_model("plain"), **options)


def test_a_network_without_places_or_without_a_graph_says_so():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double()
    with pytest.raises(NetworkError, match="no layer has channels, height and width"):
        explain(flat)
    assert "no layer has channels" in attribution.applicable_methods(Network(flat, SHAPE))["cam"]
    with pytest.raises(NetworkError, match="graph"):
        explain(tiny_model("untraceable"))


def test_memory_that_runs_out_halves_the_chunk():
    most = [3]
    network = Network(hungry(tiny_model("plain"), most, RuntimeError("out of memory")), SHAPE)
    assert attribution.cam(network, images(5), torch.zeros(5).long(), chunk_size=5).chunk_size == 2
    most[0] = 0
    with pytest.raises(OutOfMemory):
        attribution.cam(network, images(2), TARGET[:2])
