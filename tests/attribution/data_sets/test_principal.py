"""Principal components of parts, against one pass, NumPy's singular values and scikit-learn."""

from functools import reduce

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from attribution.data_sets.principal import WIDEST, Moments, between, moments, principal_components
from attribution.errors import InvalidInput, InvalidOption, NetworkError


def cloud(n: int = 60, d: int = 7, offset: float = 0.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    scales = torch.logspace(1, -2, d, dtype=torch.float64)
    mixed = torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64)).Q
    return (torch.randn(n, d, generator=draw, dtype=torch.float64) * scales) @ mixed + offset


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("cuts", [[1], [20, 40], [7, 8, 59]])
def test_parts_are_one_pass(cuts, offset):
    points = cloud(offset=offset)
    whole = moments(points)
    bounds = list(zip([0, *cuts], [*cuts, 60], strict=True))
    for order in (bounds, bounds[::-1]):
        merged = reduce(Moments.merge, [moments(points[start:stop]) for start, stop in order])
        assert merged.n_images == 60
        assert torch.allclose(merged.mean, whole.mean, rtol=1e-10)
        assert torch.allclose(merged.scatter, whole.scatter, rtol=1e-10, atol=1e-10 * float(whole.scatter.abs().max()))
        found, wanted = principal_components(merged, 3), principal_components(whole, 3)
        assert torch.allclose(found.variances, wanted.variances, rtol=1e-10)
        assert torch.allclose(found.coordinates(points), wanted.coordinates(points), atol=1e-8)


def test_singular_values_and_scikit_learn_agree():
    points = cloud()
    found = principal_components(moments(points), 4)
    apart = (points - points.mean(0)).numpy()
    _, singular, _ = np.linalg.svd(apart, full_matrices=False)
    assert np.allclose(found.spectrum.numpy(), singular**2 / 59)
    peer = PCA(4, svd_solver="full").fit(points.numpy())
    assert np.allclose(found.explained.numpy(), peer.explained_variance_ratio_)
    signs = np.sign((found.components.numpy() * peer.components_).sum(1, keepdims=True))
    assert np.allclose(found.components.numpy(), signs * peer.components_)
    assert np.allclose(found.coordinates(points).numpy(), peer.transform(points.numpy()) * signs.T)


def test_axioms():
    points = cloud()
    found = principal_components(moments(points), 7)
    assert torch.allclose(found.components @ found.components.T, torch.eye(7, dtype=torch.float64), atol=1e-10)
    coordinates = found.coordinates(points)
    assert torch.allclose(coordinates.var(0), found.variances)
    assert torch.allclose(coordinates @ found.components + found.mean, points)
    assert float(found.explained.sum()) == pytest.approx(1)
    assert (found.components.gather(1, found.components.abs().argmax(1, keepdim=True)) > 0).all()


def test_fewer_images_than_numbers():
    found = principal_components(moments(cloud(3)), 5)
    assert found.components.shape == (2, 7)


def test_variance_between_groups():
    groups = torch.arange(60) % 3
    points = cloud()
    means = torch.stack([points[groups == one].mean(0) for one in range(3)])
    inside = (points - means[groups]).square().sum()
    total = (points - points.mean(0)).square().sum()
    assert between(points, groups) == pytest.approx(1 - float(inside / total))
    assert between(points, torch.zeros(60).long()) == pytest.approx(0, abs=1e-12)
    assert between(torch.zeros(4, 2), torch.arange(4)) == 0


def test_bad_input():
    with pytest.raises(InvalidInput, match="expected"):
        moments(torch.zeros(2, WIDEST + 1))
    with pytest.raises(InvalidInput, match="expected"):
        moments(torch.zeros(0, 3))
    with pytest.raises(InvalidInput, match="do not merge"):
        moments(cloud()).merge(moments(cloud(d=6)))
    with pytest.raises(InvalidInput, match="two images"):
        principal_components(moments(cloud(1)), 1)
    with pytest.raises(InvalidOption, match="n_components"):
        principal_components(moments(cloud()), 0)
    with pytest.raises(NetworkError, match="same for all"):
        principal_components(moments(torch.ones(4, 3)), 1)
    with pytest.raises(NetworkError, match="finite"):
        moments(cloud() / 0)
