import pytest
import torch
import torchvision
from torch import nn

import attribution
from attribution import decompose, decomposition, influential_features
from attribution.errors import Cancelled, InvalidInput, InvalidTarget, NetworkError
from attribution.final_layer.layer import FinalLayer
from tests.attribution.decomposition.support import (
    SHAPE,
    D,
    K,
    batches,
    data,
    features,
    module,
    network,
    spatial_module,
)
from tests.attribution.tiny_models import tiny_model

EVERY_CLASS = torch.arange(K).expand(3, -1)


def fitted(of=None, **options):
    return influential_features(of or network(), batches(), **{"n_initial": 3, "n_features": 4, **options})


def explain(target=EVERY_CLASS, of=None, influential=None, **options):
    images, _ = data(3, seed=2)
    of = of or network()
    return decomposition(of, images, target, influential or fitted(of), **options)


def last_maps(built, images, place=3):
    with torch.no_grad():
        return built.eval()[:place](images)


def test_the_maps_are_means_over_the_features():
    images, _ = data(3, seed=2)
    found, influential, maps = explain(), fitted(), last_maps(module(), images)
    for row in range(3):
        for label in range(K):
            own = influential.indices[label].tolist()
            rest = [index for index in range(D) if index not in own]
            assert torch.allclose(found.influential[row, label], sum(maps[row, i] for i in own) / 4)
            assert torch.allclose(found.others[row, label], sum(maps[row, i] for i in rest) / (D - 4))
            assert torch.allclose(found.everything[row, label], maps[row].mean(0))
    assert found.maps_missing is None


@pytest.mark.parametrize("build", [module, spatial_module])
def test_the_maps_add_up(build):
    full, (images, labels) = attribution.Network(build(), SHAPE), data(3, seed=2)
    influential = influential_features(full, [(images, labels)], n_initial=3, n_features=4)
    found = explain(of=full, influential=influential)
    missing = (influential.indices >= 0).sum(1).view(1, K, 1, 1)
    assert torch.allclose(missing * found.influential + (D - missing) * found.others, D * found.everything)
    assert float(found.influential.abs().max()) > 0
    assert found.influential.shape == (3, K, 8, 8)


def test_contributions_are_weight_times_feature_in_falling_order():
    images, _ = data(3, seed=2)
    found, influential = explain(), fitted()
    values, weight = features(module(), images), module()[-1].weight.detach()
    order = [
        sorted(range(D), key=lambda index, row=row: (-row[index], index)) for row in influential.histogram.tolist()
    ]
    for row in range(3):
        for label in range(K):
            parts = [(float(weight[label, i] * values[row, i]), i) for i in influential.indices[label].tolist()]
            parts.sort(key=lambda part: -part[0])
            assert found.contributions[row, label].tolist() == pytest.approx([part for part, _ in parts])
            indices = [index for _, index in parts]
            assert found.features[row, label].tolist() == indices
            assert found.values[row, label].tolist() == pytest.approx(values[row, indices].tolist())
            assert found.places[row, label].tolist() == [order[label].index(index) + 1 for index in indices]
            share = [int(influential.histogram[label, index]) / 12 for index in indices]
            assert found.frequencies[row, label].tolist() == pytest.approx(share)


def test_both_logits_are_those_of_the_networks_and_contributions_add_up():
    images, _ = data(3, seed=2)
    found = explain()
    with torch.no_grad():
        assert torch.allclose(found.logits, network()(images))
        assert torch.allclose(found.decomposed_logits, decompose(network(), fitted())(images))
    sums = found.contributions.sum(2) + module()[-1].bias.detach()
    assert torch.allclose(sums, found.decomposed_logits)
    assert float(found.convergence_delta.abs().max()) < 1e-12


def test_what_follows_a_convolutional_head_shows_in_the_delta():
    built = spatial_module()
    built[3].bias.data -= 1.5
    full, (images, labels) = attribution.Network(built, SHAPE), data(3, seed=2)
    influential = influential_features(full, [(images, labels)], n_initial=3, n_features=D)
    found = explain(of=full, influential=influential)
    # Without the ReLU the mean of the scores is the score of the means.
    with torch.no_grad():
        linear = built.eval()[:4](images).mean((2, 3))
        assert torch.allclose(found.convergence_delta, linear - full(images))
    assert float(found.convergence_delta.abs().max()) > 1e-3


def test_rows_do_not_depend_on_batch_chunk_or_other_classes():
    whole, images = explain(), data(3, seed=2)[0]
    chunked = explain(chunk_size=1)
    single = decomposition(network(), images[1:2], torch.tensor([2]), fitted())
    for name in ("influential", "others", "everything", "contributions", "places", "logits", "convergence_delta"):
        assert torch.allclose(getattr(chunked, name), getattr(whole, name))
        assert torch.allclose(getattr(single, name)[0], getattr(whole, name)[1, 2])
    assert (chunked.chunk_size, single.influential.shape) == (1, (1, 8, 8))


def test_classes_without_features_have_none():
    influential = fitted()
    indices = influential.indices.clone()
    indices[1, 2:], indices[2] = -1, -1
    found = explain(influential=influential._replace(indices=indices))
    assert bool((found.features[:, 1, 2:] == -1).all())
    assert bool((found.features[:, 1, :2] >= 0).all())
    assert bool(found.contributions[:, 2].isnan().all())
    assert bool((found.influential[:, 2] == 0).all())
    assert torch.allclose(found.others[:, 2], found.everything[:, 2])
    assert float(found.convergence_delta.abs().max()) < 1e-12


def test_flattened_maps_are_shown_value_by_value():
    built = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, K)).double()
    full, (images, _) = attribution.Network(built, SHAPE), data(3, seed=2)
    influential = influential_features(full, batches(), n_initial=20, n_features=30)
    found = explain(of=full, influential=influential)
    maps = last_maps(built, images, 2)
    mask = torch.zeros(128, dtype=torch.float64)
    mask[influential.indices[1]] = 1
    assert torch.allclose(found.influential[0, 1], (mask.view(2, 8, 8) * maps[0]).sum(0) / 30)


def test_the_maps_are_those_before_any_pooling():
    pools = [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    built = nn.Sequential(nn.Conv2d(3, D, 3, padding=1), nn.ReLU(), *pools, nn.Linear(D, K)).double()
    found = explain(of=attribution.Network(built, SHAPE))
    maps = last_maps(built, data(3, seed=2)[0], 2)
    assert torch.allclose(found.everything[:, 0], maps.mean(1))


def test_maximum_pooling_has_maps_too():
    built = nn.Sequential(nn.Conv2d(3, D, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(D, K)).double()
    assert explain(of=attribution.Network(built, SHAPE)).influential.shape == (3, K, 6, 6)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "squeezenet1_1"])
def test_the_maps_of_known_networks_are_found(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        full = attribution.Network(getattr(torchvision.models, name)(num_classes=K))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    influential = influential_features(full, [(images, torch.tensor([0, 1]))], n_features=3)
    found = decomposition(full, images, torch.tensor([0, 1]), influential)
    assert found.maps_missing is None
    assert found.influential.shape[1:] == ((3, 3) if name == "squeezenet1_1" else (2, 2))


@pytest.mark.parametrize("name", ["vgg11", "mobilenet_v3_small", "convnext_tiny"])
def test_features_that_are_no_maps_have_contributions_and_a_reason(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        full = attribution.Network(getattr(torchvision.models, name)(num_classes=K))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    influential = influential_features(full, [(images, torch.tensor([0, 1]))], n_features=3)
    found = decomposition(full, images, torch.tensor([0, 1]), influential)
    assert (found.influential, found.others, found.everything) == (None, None, None)
    assert "no maps to show" in found.maps_missing
    assert found.contributions.shape == (2, 3)
    assert bool(found.contributions.isfinite().all())


def test_the_module_and_the_images_stay_as_they_were():
    built = module().train()
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    images, labels = data(3, seed=2)
    kept = images.clone()
    decomposition(attribution.Network(built), images, labels, fitted())
    assert built.training
    assert torch.equal(images, kept)
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


def test_progress_counts_images_and_may_cancel():
    told = []
    explain(chunk_size=2, progress=lambda *numbers: told.append(numbers))
    assert told == [(2, 3), (3, 3)]

    def stop(done, total):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        explain(progress=stop)


def test_bad_input_is_refused():
    images, labels = data(3, seed=2)
    with pytest.raises(InvalidTarget, match="contains 4"):
        explain(labels + 2)
    with pytest.raises(InvalidTarget, match="one row of classes"):
        explain(labels[:2])
    with pytest.raises(InvalidInput, match="float32"):
        decomposition(network(), images.float(), labels, fitted())
    other = attribution.Network(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).double(), SHAPE)
    with pytest.raises(InvalidInput, match="fit it on this network"):
        decomposition(other, images, labels, fitted())
    with pytest.raises(NetworkError, match="without a graph"):
        decomposition(attribution.Network(tiny_model("untraceable")), images[:, :2], labels, fitted())


@pytest.mark.parametrize("build", [module, spatial_module])
def test_against_another_class_contributions_are_differences_for_the_features_of_the_class_itself(build):
    full, (images, labels) = attribution.Network(build().double(), SHAPE), data(3, seed=2)
    images = images.double()
    influential = influential_features(full, [(images, labels)], n_initial=3, n_features=4)
    target, against = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    own, found = (decomposition(full, images, target, influential, **more) for more in ({}, {"against": against}))
    final = FinalLayer(full)
    with torch.no_grad():
        values, logits = final.run(images)
    difference = final.weight[target] - final.weight[against]
    for row in range(3):
        indices = found.features[row]
        assert set(indices.tolist()) == set(own.features[row].tolist())
        expected = difference[row, indices] * final.pooled(values)[row, indices]
        assert torch.allclose(found.contributions[row], expected)
        assert found.contributions[row].tolist() == sorted(found.contributions[row].tolist(), reverse=True)
    rows = torch.arange(3)
    assert torch.allclose(found.logits, logits[rows, target] - logits[rows, against])
    assert torch.equal(found.influential, own.influential)
    if build is module:  # nothing follows the layer, so that all adds up
        assert float(found.convergence_delta.abs().max()) < 1e-9
