import pytest
import torch
from torch import nn

import attribution
from attribution.multiclass.contrasts import contrasts, head_weight, leading_directions
from tests.attribution.tiny_models import tiny_model


@pytest.mark.parametrize("n_classes", [2, 3, 50])
def test_contrasts_are_an_orthonormal_basis_without_the_mean(n_classes):
    rows = contrasts(n_classes)
    centring = torch.eye(n_classes, dtype=torch.float64) - 1 / n_classes
    assert torch.allclose(rows @ rows.T, torch.eye(n_classes - 1, dtype=torch.float64))
    assert torch.allclose(rows.T @ rows, centring)


@pytest.mark.parametrize(("n_classes", "n_features"), [(12, 5), (5, 12), (7, 6)])
def test_leading_directions_are_the_singular_vectors_of_the_centred_head(n_classes, n_features):
    head = torch.randn(n_classes, n_features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = leading_directions(head, n_classes, spans=True)
    expected, strengths, _ = torch.linalg.svd(head - head.mean(0), full_matrices=False)
    rank = min(n_classes - 1, n_features)
    assert found.shape == (rank, n_classes)
    assert torch.allclose((found @ expected[:, :rank]).abs(), torch.eye(rank, dtype=torch.float64), atol=1e-7)
    assert bool((strengths[: rank - 1] >= strengths[1:rank]).all())
    everything = leading_directions(head, n_classes, spans=False)
    assert torch.allclose(everything @ everything.T, torch.eye(n_classes - 1, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(everything.sum(1), torch.zeros(n_classes - 1, dtype=torch.float64), atol=1e-9)


def test_heads_are_found_where_they_are():
    linear = nn.Linear(4, 3)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), linear, nn.Dropout(), nn.Identity())
    head = head_weight(attribution.Network(plain, (2, 2, 2)))
    assert head.spans
    assert torch.equal(head.weight, linear.weight.double())
    after = head_weight(attribution.Network(nn.Sequential(*plain, nn.Tanh()), (2, 2, 2)))
    assert not after.spans
    assert torch.equal(after.weight, linear.weight.double())
    grouped = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert head_weight(attribution.Network(grouped, (4, 3, 3))) is None
    assert head_weight(attribution.Network(tiny_model("untraceable"), (2, 6, 6))) is None
