"""An evaluation says what should make its reader wonder, and nothing where all is well."""

import torch

from attribution.confidence import share_interval
from attribution.data_sets.judged import Judged, judged
from workers.tasks.doubts import doubts

ANIMALS, FOLDERS = ["cat", "dog"], [("cat", 0), ("dog", 1)]


def drawn(right: float, images: int = 100) -> Judged:
    labels = torch.arange(images) % 2
    winners = torch.where(torch.arange(images) < right * images, labels, 1 - labels)
    outputs = torch.nn.functional.one_hot(winners, 2).double()
    return judged(outputs, outputs, labels)


def said(right: float, labels: list[str] = ANIMALS) -> list[str]:
    return list(doubts(drawn(right), share_interval(int(right * 100), 100), labels, FOLDERS))


def test_nothing_of_a_network_that_is_right_more_often_than_not() -> None:
    assert said(0.9) == said(0.5) == []


def test_swapped_classes_are_worse_than_guessing_and_named() -> None:
    guessing, order = said(0.2)
    assert "right less often than guessing one of 2 classes would be (50.0 %)" in guessing
    assert "80.0 % of the 100 images would be right (cat from output 1, dog from output 0)" in order
    assert "register a version with labels in that order; or the data set's numbers mean other classes" in order
    assert 'say its order (`order`: "text" or "value")' in order


def test_without_names_it_says_what_each_folder_was_taken_for() -> None:
    [taken] = said(0.9, labels=[])
    assert taken.endswith("'cat' was taken as class 0, 'dog' was taken as class 1")
