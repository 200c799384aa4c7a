import copy

import pytest
import torch
import torchvision
from torch import nn

import attribution
from attribution import DecomposedHead, decompose, decomposed_bytes, decomposed_from_bytes, influential_features
from attribution.decomposition.classifiers import head_of, with_dense_head
from attribution.errors import InvalidInput, NetworkError
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
from tests.attribution.methods import slow_decomposition as slow


def found(of=None, **options):
    return influential_features(of or network(), batches(), **{"n_initial": 3, "n_features": 3, **options})


def test_decomposed_logits_equal_a_slow_sum():
    influential, (images, _) = found(), data(6, seed=5)
    decomposed = decompose(network(), influential)
    last = module()[-1]
    rows = features(module(), images).tolist()
    kept = influential.indices.tolist()
    expected = [slow.logits(row, last.weight.tolist(), last.bias.tolist(), kept) for row in rows]
    assert torch.allclose(decomposed(images), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("build", [module, spatial_module])
def test_with_all_features_they_are_the_full_ones(build):
    full, (images, labels) = attribution.Network(build(), SHAPE), data()
    decomposed = decompose(full, influential_features(full, [(images, labels)], n_features=D))
    assert torch.allclose(decomposed(images), full(images))
    fewer = decompose(full, influential_features(full, [(images, labels)], n_features=D - 1))
    assert not torch.allclose(fewer(images), full(images))


@pytest.mark.parametrize("is_spatial", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_gathered_equals_masked_and_so_do_its_gradients(is_spatial, with_bias):
    generator = torch.Generator().manual_seed(0)
    indices = torch.stack([torch.randperm(D, generator=generator)[:5] for _ in range(K)])
    indices[1, 3:] = -1
    weight = torch.randn(K, D, generator=generator, dtype=torch.float64)
    bias = torch.randn(K, generator=generator, dtype=torch.float64) if with_bias else None
    values = torch.randn(6, D, *((2, 3) if is_spatial else ()), generator=generator, dtype=torch.float64)
    values.requires_grad_()
    head = DecomposedHead(indices, weight.gather(1, indices.clamp(min=0)), bias, is_spatial=is_spatial)
    mask = torch.tensor([[i in row for i in range(D)] for row in indices.tolist()])
    masked = (weight * mask).requires_grad_()
    expected = torch.einsum("kd,nd...->nk...", masked, values)
    if bias is not None:
        expected = expected + bias.view(1, K, *((1, 1) if is_spatial else ()))
    assert torch.allclose(head(values), expected)
    upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    wanted = torch.autograd.grad(expected, (values, masked), upstream)
    given = torch.autograd.grad(head(values), (values, head.weight), upstream)
    assert torch.allclose(given[0], wanted[0])
    assert torch.allclose(given[1], wanted[1].gather(1, indices.clamp(min=0)).masked_fill(indices < 0, 0))


def test_the_graph_of_a_decomposed_network_computes_the_same():
    for build in (module, spatial_module):
        full, (images, labels) = attribution.Network(build(), SHAPE), data(8)
        decomposed = decompose(full, influential_features(full, [(images, labels)], n_features=3))
        again = attribution.Network(decomposed, SHAPE)
        assert again.report().traced
        with torch.no_grad():
            assert torch.allclose(again(images), decomposed(images))


def test_a_decomposed_network_can_be_explained():
    decomposed = attribution.Network(decompose(network(), found()), SHAPE)
    images, labels = data(2)
    gradients = attribution.integrated_gradients(
        decomposed, images, labels, baseline=0 * images[:1], n_steps=256, quadrature="midpoint"
    )
    change = (decomposed(images) - decomposed(0 * images)).gather(1, labels[:, None])[:, 0]
    assert torch.allclose(gradients.attributions.sum((1, 2, 3)), change, rtol=0.05, atol=0.02)
    importance = attribution.multiclass_importance(decomposed, images)
    sums = importance.importance.sum((1, 2, 3))
    rows = []
    for number in range(K):
        target = torch.full((2,), number)
        points = images.clone().requires_grad_()
        scores = decompose(network(), found())(points).gather(1, target[:, None]).sum()
        rows.append((torch.autograd.grad(scores, points)[0] * images).sum((1, 2, 3)))
    table = torch.stack(rows, 1)
    assert torch.allclose(sums, (table - table.mean(1, keepdim=True)).square().sum(1))


def test_it_is_a_module_of_its_own():
    built = module().train()
    before = copy.deepcopy(built.state_dict())
    decomposed = decompose(attribution.Network(built), found())
    assert not decomposed.training
    assert all(parameter.requires_grad for parameter in decomposed.parameters())
    with torch.no_grad():
        for tensor in decomposed.state_dict().values():
            tensor.zero_()
    assert built.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


def test_only_the_final_layers_part_of_the_state_differs():
    decomposed, full = decompose(network(), found()).state_dict(), module().state_dict()
    assert decomposed.keys() == full.keys() | {"6.indices"}
    assert decomposed["6.indices"].dtype == torch.int64
    assert decomposed["6.weight"].shape == (K, 3)
    assert all(torch.equal(decomposed[name], full[name]) for name in full if name != "6.weight")


def test_it_survives_being_stored():
    decomposed = decompose(network(), found())
    stored = decomposed_bytes(decomposed)
    again = decomposed_from_bytes(network(seed=7), stored)
    images, _ = data(3)
    assert torch.equal(again(images), decomposed(images))
    assert decomposed_bytes(again) == stored


def test_a_file_that_does_not_fit_is_refused():
    stored = decomposed_bytes(decompose(network(), found()))
    with pytest.raises(InvalidInput, match=r"no 4\.indices"):
        decomposed_from_bytes(attribution.Network(nn.Sequential(*module()[:4], nn.Linear(D, K))), stored)
    wider = nn.Sequential(nn.Conv2d(4, D, 3, padding=1, bias=False), *module()[1:])
    with pytest.raises(InvalidInput, match="does not fit the architecture"):
        decomposed_from_bytes(attribution.Network(wider.double()), stored)
    with pytest.raises(InvalidInput, match="no safetensors"):
        decomposed_from_bytes(network(), b"nothing")


def test_features_of_another_network_are_refused():
    with pytest.raises(InvalidInput, match="fit it on this network"):
        decompose(attribution.Network(nn.Sequential(nn.Flatten(), nn.Linear(D, K + 1))), found())
    with pytest.raises(InvalidInput, match="features 0 to 2"):
        decompose(attribution.Network(nn.Sequential(nn.Flatten(), nn.Linear(3, K))), found())
    with pytest.raises(NetworkError, match="make one with decompose"):
        head_of(module())


def masked_weight(final, indices):
    """The full weight with everything but the chosen features of each class at zero."""
    kept = torch.zeros_like(final.weight)
    for row, features_of_class in enumerate(indices.tolist()):
        for feature in features_of_class:
            kept[row, feature] = final.weight[row, feature]
    return kept


def test_the_masked_weight_is_the_reference():
    influential = found()
    final = FinalLayer(network())
    weight = masked_weight(final, influential.indices)
    assert int((weight != 0).sum()) == K * 3
    images, _ = data(4)
    expected = features(module(), images) @ weight.T + final.bias
    assert torch.allclose(decompose(network(), influential)(images), expected)


def test_networks_with_auxiliary_heads_and_convolutional_heads_decompose():
    for build, side in [
        (lambda: torchvision.models.googlenet(num_classes=K, init_weights=False), 32),
        (lambda: torchvision.models.squeezenet1_1(num_classes=K), 32),
    ]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            full = attribution.Network(build(), (3, side, side))
        images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
        influential = influential_features(full, [(images, torch.arange(4) % K)], n_features=4)
        final = FinalLayer(full)
        decomposed = decompose(full, influential)
        expected = copy.deepcopy(full.module)
        with torch.no_grad():
            weight = masked_weight(final, influential.indices)
            layer = expected.get_submodule(final.path)
            layer.weight = nn.Parameter(weight.view(layer.weight.shape))
            assert torch.allclose(decomposed(images), expected(images), atol=1e-5)


def test_a_decomposed_network_is_not_decomposed_again():
    again = attribution.Network(decompose(network(), found()), SHAPE)
    with pytest.raises(NetworkError, match="decomposed one already"):
        decompose(again, found())


def test_one_image_is_as_good_as_many():
    decomposed, (images, _) = decompose(network(), found()), data(5)
    rows = torch.cat([decomposed(image.unsqueeze(0)) for image in images])
    assert torch.allclose(rows, decomposed(images))
    indices = torch.tensor([[0, 1], [2, -1], [3, 4], [-1, -1]])
    some = decompose(network(), indices)
    assert torch.allclose(torch.cat([some(image.unsqueeze(0)) for image in images]), some(images))


@pytest.mark.parametrize("is_spatial", [False, True])
def test_a_dense_head_computes_the_same(is_spatial):
    torch.manual_seed(0)
    last = (
        [nn.Conv2d(6, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        if is_spatial
        else [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    )
    network = attribution.Network(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), *last).double(), (3, 8, 8))
    decomposed = attribution.decompose(network, torch.tensor([[1, 0], [5, -1], [2, 3], [-1, 4]]))
    dense = with_dense_head(decomposed, 6)
    inputs = torch.randn(5, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(dense(inputs), decomposed(inputs))
    kinds = [[type(part) for part in whole.modules()] for whole in (dense, network.module)]
    assert kinds[0] == kinds[1]
    assert attribution.applicable_methods(attribution.Network(dense, (3, 8, 8)))["layer_shapley"] is None
    with pytest.raises(InvalidInput, match="features 0 to 4"):
        with_dense_head(decomposed, 5)
