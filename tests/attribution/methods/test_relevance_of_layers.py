"""What DeepLIFT and layer-wise relevance propagation share: one class against another, channels of a layer."""

import pytest
import torch

import attribution
from attribution import Concept, Network
from tests.attribution.tiny_models import SHAPE, images, tiny_model

TARGET = torch.tensor([0, 2, 1])


def deeplift(module, target=TARGET, **options):
    return attribution.deeplift(Network(module, SHAPE), images(), target, baseline=images(seed=5)[:3], **options)


def lrp(module, target=TARGET, **options):
    return attribution.lrp(Network(module, SHAPE), images(), target, **options)


@pytest.mark.parametrize("explain", [deeplift, lrp])
def test_one_class_against_another_is_the_difference_of_both_maps(explain):
    module, other = tiny_model("residual"), torch.tensor([1, 0, 2])
    found = explain(module, against=other, layers="stages")
    both = explain(module, torch.stack([TARGET, other], 1), layers="stages")
    torch.testing.assert_close(found.maps, both.maps[:, 0] - both.maps[:, 1], rtol=0, atol=1e-12)
    torch.testing.assert_close(found.explained, both.explained[:, 0] - both.explained[:, 1])
    for layer, values in found.layer_maps.items():
        torch.testing.assert_close(values, both.layer_maps[layer][:, 0] - both.layer_maps[layer][:, 1])


@pytest.mark.parametrize("explain", [deeplift, lrp])
def test_channels_share_out_what_their_layer_has(explain):
    module = tiny_model("residual")
    whole = explain(module, layers=["stem", "conv2"])
    for layer in ("stem", "conv2"):
        parts = [explain(module, concept=Concept(layer, [channel])) for channel in range(4)]
        shares = torch.stack([part.explained for part in parts], 1)
        torch.testing.assert_close(shares, whole.layer_scores[layer], rtol=1e-9, atol=1e-10)
        for part in parts:
            assert float(part.convergence_delta.abs().max()) < 1e-12
    # Everything runs through the stem.
    stem = [explain(module, concept=Concept("stem", [channel])).maps for channel in range(4)]
    torch.testing.assert_close(torch.stack(stem).sum(0), whole.maps, rtol=1e-9, atol=1e-10)
    some = explain(module, concept=Concept("stem", [0, 3])).maps
    torch.testing.assert_close(some, stem[0] + stem[3], rtol=1e-9, atol=1e-10)
