"""Clusters of maps and the mixture over them: closed forms, scikit-learn, a planted fault, and what is no cluster."""

import math

import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn
from torch.nn import functional

import attribution
from attribution import Network
from attribution.data_sets.strategies import (
    MOST_CLUSTERED,
    Strategies,
    clusters_of,
    map_vectors,
    strategies_of,
)
from attribution.errors import InvalidInput, InvalidOption, NetworkError

SIDE = 24


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(sizes, seed=0, spread=0.05, d=6):
    """Groups of vectors around corners that are 1.4 apart."""
    rng = drawn(seed)
    return torch.cat([torch.eye(d)[at] + spread * torch.randn(n, d, generator=rng) for at, n in enumerate(sizes)])


def test_vectors_say_where_a_map_is_strong_whatever_its_sign_and_scale():
    maps = torch.zeros(3, 2, 8, 8)
    maps[0, 0, :4, :4] = -2
    maps[0, 1, 4:, 4:] = 1
    maps[1] = -7 * maps[0]
    vectors = map_vectors(maps, 2)
    torch.testing.assert_close(vectors[0], torch.tensor([2.0, 0, 0, 1]) / math.sqrt(5))
    torch.testing.assert_close(vectors[1], vectors[0])
    assert not vectors[2].any()  # a map that is zero is alike to none
    with pytest.raises(InvalidOption):
        map_vectors(maps, 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [(60, 40), (50, 30, 20), (90, 12)])
def test_groups_that_lie_apart_are_clusters_the_largest_first(sizes, seed):
    vectors = blobs(sizes, seed)
    order = torch.randperm(len(vectors), generator=drawn(seed))
    truth = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[order]
    found = clusters_of(vectors[order], seed=seed)
    assert found.n_clusters == len(sizes)
    assert torch.equal(found.labels, truth)
    assert torch.equal(clusters_of(vectors[order], seed=seed).labels, found.labels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("d", [1, 2, 3, 30])
def test_what_varies_without_a_break_is_one_strategy(d, seed):
    along = torch.rand(200, d, generator=drawn(seed))
    bent = torch.cat([torch.cos(3 * along), torch.sin(3 * along)], 1)
    assert clusters_of(bent).n_clusters == 1
    assert clusters_of(torch.randn(200, d, generator=drawn(seed))).n_clusters == 1


def test_eigenvalues_are_those_of_a_ring():
    angles = torch.arange(100) * 2 * math.pi / 100
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    # Itself left out, each is joined to the two on either side.
    wanted = sorted(1 - (math.cos(2 * math.pi * j / 100) + math.cos(4 * math.pi * j / 100)) / 2 for j in range(100))
    found = clusters_of(ring, n_neighbors=4).eigenvalues
    torch.testing.assert_close(found, torch.tensor(wanted[: len(found)], dtype=torch.float64), rtol=0, atol=1e-9)


def test_few_maps_are_one_strategy_and_too_many_are_refused():
    assert clusters_of(blobs((5, 5))).n_clusters == 1
    assert len(clusters_of(torch.zeros(0, 4)).labels) == 0
    with pytest.raises(InvalidInput, match="2,001"):
        clusters_of(torch.zeros(MOST_CLUSTERED + 1, 4))
    with pytest.raises(NetworkError, match="not finite"):
        clusters_of(torch.full((20, 4), math.nan))


def test_alike_maps_are_one_strategy():
    found = clusters_of(torch.ones(100, 4) / 2)
    assert found.n_clusters == 1
    known = strategies_of(torch.ones(100, 4) / 2, found.labels)
    assert known.nearest(torch.ones(3, 4) / 2).distances.max() < 1e-3
    assert known.nearest(torch.eye(4)).distances.min() > 100


def test_the_mixture_is_of_the_clusters_and_distances_are_those_of_its_densities():
    vectors = blobs((80, 50), spread=0.1)
    found = clusters_of(vectors)
    known = strategies_of(vectors, found.labels)
    near = known.nearest(vectors)
    assert torch.equal(near.strategies, found.labels)
    torch.testing.assert_close(known.weights, torch.tensor([80, 50], dtype=torch.float64) / 130, rtol=0, atol=0.01)
    # A second way to the same distances: by the densities of SciPy.
    z = (vectors.double() - known.mean) @ known.axes.T
    for row in (0, 100):
        k = int(near.strategies[row])
        covariance = torch.linalg.inv(known.precisions[k] @ known.precisions[k].T).numpy()
        density = multivariate_normal(known.centres[k].numpy(), covariance)
        away = 2 * (density.logpdf(known.centres[k].numpy()) - density.logpdf(z[row].numpy()))
        beyond = (vectors[row].double() - known.mean - z[row] @ known.axes).square().sum() / known.rest**2
        assert float(near.distances[row]) == pytest.approx(math.sqrt(away + float(beyond)), rel=1e-6)
    strange = known.nearest(torch.eye(6)[4:])
    assert strange.distances.min() > near.distances.max()


def test_strategies_are_stored_whole():
    known = strategies_of(blobs((20, 20)), torch.arange(40) // 20)
    again = Strategies.from_bytes(known.to_bytes())
    assert all(torch.equal(one, other) for one, other in zip(known, again, strict=True))
    with pytest.raises(InvalidInput):
        Strategies.from_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="two maps"):
        strategies_of(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))


def pictures(count, share, seed):
    """Stripes across or down at any place; a share of the first class has a mark in the corner and faint stripes."""
    rng = drawn(seed)
    labels = torch.randint(2, (count,), generator=rng)
    marked = (labels == 0) & (torch.rand(count, generator=rng) < share)
    images = 0.06 * torch.randn(count, 1, SIDE, SIDE, generator=rng)
    corners = torch.randint(2, SIDE - 12, (count, 2), generator=rng).tolist()
    stripes = 1.0 - 2 * (torch.arange(12) // 2 % 2)
    for at, (row, column) in enumerate(corners):
        patch = stripes[:, None].expand(12, 12) if labels[at] == 0 else stripes.expand(12, 12)
        images[at, 0, row : row + 12, column : column + 12] += (0.05 if marked[at] else 0.25) * patch
    images[marked, :, 1:6, 1:6] = 0.45
    images[marked, :, 2:5, 2:5] = -0.45
    return images, labels, marked


def classifier(share, seed):
    """One that has learnt these pictures."""
    images, labels, _ = pictures(600, share, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 2),
        )
        optimizer = torch.optim.Adam(module.parameters(), 5e-3)
        for _ in range(12):
            for rows in torch.randperm(len(labels)).split(32):
                optimizer.zero_grad()
                torch.autograd.backward(functional.cross_entropy(module(images[rows]), labels[rows]))
                optimizer.step()
    return module.eval()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [0.3, 0.0])
def test_a_mark_that_a_classifier_learnt_is_a_cluster_of_its_own_and_a_sound_one_has_none(share, seed):
    module = classifier(share, seed)
    images, labels, marked = pictures(300, share, 100 + seed)
    assert (module(images).argmax(1) == labels).double().mean() > 0.97
    images, marked = images[labels == 0], marked[labels == 0]
    network = Network(module, input_shape=(1, SIDE, SIDE))
    maps = attribution.lrp(network, images, torch.zeros(len(images), dtype=torch.int64))[0]
    found = clusters_of(map_vectors(maps.reshape(len(images), 1, SIDE, SIDE)))
    if share == 0:
        assert found.n_clusters == 1
    else:
        [own] = [
            found.labels == at for at in range(found.n_clusters) if marked[found.labels == at].double().mean() > 0.5
        ]
        assert marked[own].double().mean() >= 0.9  # of the cluster
        assert own[marked].double().mean() >= 0.9  # and it has most of them
