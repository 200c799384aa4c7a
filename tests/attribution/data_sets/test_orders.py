"""Another order of the classes is found where it explains the mistakes, and not where chance does."""

import itertools

import pytest
import torch

from attribution.data_sets.judged import Judged, judged
from attribution.data_sets.orders import other_order


def counted(labels: torch.Tensor, winners: torch.Tensor, classes: int) -> Judged:
    outputs = torch.nn.functional.one_hot(winners, classes).double()
    return judged(outputs, outputs, labels)


def drawn(order: list[int], images: int, right: float, seed: int = 0) -> Judged:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(order), (images,), generator=generator)
    guessed = torch.randint(len(order), (images,), generator=generator)
    is_right = torch.rand(images, generator=generator) < right
    return counted(labels, torch.where(is_right, torch.tensor(order)[labels], guessed), len(order))


@pytest.mark.parametrize("order", [[1, 0], [2, 0, 1], [0, 2, 1, 3], [9, 1, 2, 3, 4, 5, 6, 7, 8, 0]])
def test_it_is_the_one_that_makes_most_images_right(order):
    found = other_order(drawn(order, 400, 0.8))
    assert found is not None
    assert found.classes.tolist() == order
    assert found.accuracy > 0.75


def test_it_is_the_best_of_all_orders():
    counts = drawn([2, 1, 0], 90, 0.6)
    found = other_order(counts)
    assert found is not None
    table = counts.confusion.to_dense()
    best = max(sum(int(table[i, j]) for i, j in enumerate(order)) for order in itertools.permutations(range(3)))
    assert found.accuracy == best / 90


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("classes", "images"), [(2, 4), (2, 20), (10, 10), (10, 60), (100, 200), (1000, 100)])
def test_a_network_that_guesses_has_none(classes, images, seed):
    assert other_order(drawn(list(range(classes)), images, 0.0, seed)) is None


def test_a_right_network_has_none():
    assert other_order(drawn(list(range(5)), 100, 0.7)) is None


@pytest.mark.parametrize(("classes", "images"), [(10, 1), (3, 3), (2, 10)])
def test_few_images_are_enough_where_all_fit_as_guesses_do_not(classes, images):
    labels = torch.arange(classes).repeat(images)
    found = other_order(counted(labels, (labels + 1) % classes, classes))
    assert found is not None
    assert found.accuracy == 1.0
    assert found.classes.tolist() == [(index + 1) % classes for index in range(classes)]


@pytest.mark.parametrize(("classes", "images"), [(3, 1), (2, 2)])
def test_so_few_that_guesses_fit_are_not(classes, images):
    labels = torch.arange(classes).repeat(images)
    assert other_order(counted(labels, (labels + 1) % classes, classes)) is None
