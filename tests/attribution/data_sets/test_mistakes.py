"""The surest mistakes, against a sort by hand, in one go and in parts."""

from functools import reduce

import torch

from attribution.data_sets.mistakes import MOST, Mistakes, mistakes


def drawn(n=400, classes=4):
    generator = torch.Generator().manual_seed(0)
    # Of a few values, so that many are equally sure.
    probabilities = torch.randint(1, 4, (n, classes), generator=generator).double()
    return probabilities / probabilities.sum(1, keepdim=True), torch.randint(classes, (n,), generator=generator)


def found(probabilities, labels, start=0):
    return mistakes(probabilities.log(), probabilities, labels, torch.arange(start, start + len(labels)))


def by_hand(probabilities, labels):
    rows = []
    for position, (row, label) in enumerate(zip(probabilities.tolist(), labels.tolist(), strict=True)):
        winner = row.index(max(row))
        if winner != label:
            rows.append((-max(row), position, label, winner))
    return [(position, label, winner, -sure) for sure, position, label, winner in sorted(rows)][:MOST]


def rows(of):
    return list(zip(*(column.tolist() for column in of), strict=True))


def test_against_a_sort_by_hand():
    assert len(by_hand(*drawn())) == MOST
    assert rows(found(*drawn())) == by_hand(*drawn())


def test_parts_in_any_order_keep_the_same_and_no_more():
    probabilities, labels = drawn()
    starts = range(0, 400, 60)
    parts = [found(probabilities[start : start + 60], labels[start : start + 60], start) for start in starts]
    for order in (parts, parts[::-1]):
        assert rows(reduce(Mistakes.merge, order)) == by_hand(probabilities, labels)


def test_nothing_is_wrong():
    sure = torch.eye(3).double()
    assert rows(found(sure, torch.arange(3))) == []
    assert rows(found(sure, torch.arange(3)).merge(found(sure, torch.tensor([0, 1, 1]), 3))) == [(5, 1, 2, 1.0)]
