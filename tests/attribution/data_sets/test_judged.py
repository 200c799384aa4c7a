"""Confusion and calibration, against counts by hand and a closed form."""

import pytest
import torch

from attribution.data_sets.judged import BINS, judged


def drawn(n=400, classes=4):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(n, classes, generator=generator).double().mul(2).softmax(1)
    return probabilities, torch.randint(classes, (n,), generator=generator)


def counted(probabilities, labels):
    return judged(probabilities.log(), probabilities, labels)


def by_hand(probabilities, labels):
    """Confusion, and the calibration error bin by bin, image by image."""
    classes = probabilities.shape[1]
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    bins = [[] for _ in range(BINS)]
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        sure = max(row)
        winner = row.index(sure)
        confusion[label, winner] += 1
        place = next(number for number in range(BINS) if sure <= (number + 1) / BINS)
        bins[place].append((sure, winner == label))
    gaps = [abs(sum(sure - right for sure, right in found)) for found in bins]
    return confusion, sum(gaps) / len(labels), [len(found) for found in bins]


def test_against_counts_by_hand():
    probabilities, labels = drawn()
    found = counted(probabilities, labels)
    confusion, error, images = by_hand(probabilities, labels)
    assert torch.equal(found.confusion.to_dense(), confusion)
    assert found.images.tolist() == images
    assert found.calibration_error == pytest.approx(error, rel=1e-12)
    assert found.own_right.tolist() == confusion.diagonal().tolist()
    assert found.own.tolist() == confusion.sum(1).tolist()
    assert int(found.right.sum()) == int(confusion.diagonal().sum())


def test_parts_add_up():
    probabilities, labels = drawn()
    whole = counted(probabilities, labels)
    parts = counted(probabilities[:150], labels[:150]).merge(counted(probabilities[150:], labels[150:]))
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one.to_dense().double(), other.to_dense().double(), rtol=1e-12)


def test_one_that_is_as_right_as_it_is_sure_has_no_error():
    # Of ten images at 0.7, seven are right.
    found = counted(torch.tensor([[0.7, 0.3]], dtype=torch.float64).expand(10, 2), torch.tensor([0] * 7 + [1] * 3))
    assert found.calibration_error == pytest.approx(0, abs=1e-12)


def test_one_that_is_sure_and_wrong_has_all_of_it():
    found = counted(torch.tensor([[1.0, 0.0]]).expand(5, 2), torch.ones(5, dtype=torch.int64))
    assert found.calibration_error == 1.0
    assert found.confusion.to_dense().tolist() == [[0, 0], [5, 0]]


def test_the_largest_output_wins_where_probabilities_round_alike():
    outputs = torch.tensor([[200.0, 300.0]])
    assert judged(outputs, outputs.sigmoid(), torch.tensor([1])).confusion.to_dense().tolist() == [[0, 0], [0, 1]]


def test_many_classes_take_little_memory():
    outputs = torch.zeros(3, 100_000)
    assert judged(outputs, outputs, torch.tensor([5, 5, 0])).confusion.values().tolist() == [1, 2]
