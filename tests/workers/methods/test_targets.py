"""Which classes are explained, and what they are held against."""

import pytest
import torch
from pydantic import TypeAdapter

from attribution.errors import InvalidTarget
from attribution_contracts.targets import Target
from workers.methods.targets import against_table, chosen_of, target_scores

LOGITS = torch.tensor([1.0, 4.0, 3.5, -2.0])
DEVICE = torch.device("cpu")


def chosen(target, label=None, logits=LOGITS):
    found = chosen_of(TypeAdapter(Target).validate_python(target), logits, label, [])
    return [(one.class_index, dict(one.against)) for one in found]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("predicted", [(1, {})]),
        ("all", [(0, {}), (1, {}), (2, {}), (3, {})]),
        ({"top_k": 2}, [(1, {}), (2, {})]),
        ({"classes": [3, 0]}, [(3, {}), (0, {})]),
        ({"against": "runner_up"}, [(1, {2: 1.0})]),
        ({"classes": [3, 1], "against": "runner_up"}, [(3, {1: 1.0}), (1, {2: 1.0})]),
        ({"against": 3}, [(1, {3: 1.0})]),
        ({"top_k": 3, "against": 2}, [(1, {2: 1.0}), (0, {2: 1.0})]),
        ({"against": {"nearest": 2}}, [(1, {2: 0.5, 0: 0.5})]),
        ({"against": {"nearest": 1, "weight": 0.6}}, [(1, {2: 0.6})]),
        ({"classes": [0], "against": {"nearest": 3, "weight": 0.6}}, [(0, {2: 0.2, 1: 0.2, 3: 0.2})]),
    ],
)
def test_what_is_chosen(target, expected):
    found = chosen(target)
    assert [(index, pytest.approx(against)) for index, against in expected] == found


def test_the_label_is_the_image_s_own():
    assert chosen({"against": "label"}, label=0) == [(1, {0: 1.0})]
    assert chosen({"top_k": 2, "against": "label"}, label=1) == [(2, {1: 1.0})]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"against": "label"}, 'the class that is explained, 1, is the image\'s label.*"runner_up"'),
        ({"against": 1}, "class 1 is the one that is explained: it does not stand against itself"),
    ],
)
def test_a_class_does_not_stand_against_itself(target, said):
    with pytest.raises(InvalidTarget, match=said):
        chosen(target, label=1)


def test_single_classes_are_a_table_of_classes_and_others_one_of_weights():
    def table(*targets):
        found = [chosen_of(TypeAdapter(Target).validate_python(target), LOGITS, 0, []) for target in targets]
        return against_table(found, 4, DEVICE)

    assert table("predicted", {"classes": [2]}) is None
    assert table({"against": "runner_up"}, {"against": "label"}).tolist() == [[2], [0]]
    weights = table({"against": {"nearest": 2, "weight": 0.5}}, "predicted", {"against": 3})
    assert weights.tolist() == [[[0.25, 0, 0.25, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 1]]]


def test_what_is_said_of_it():
    found = chosen_of(TypeAdapter(Target).validate_python({"against": {"nearest": 2}}), LOGITS, None, [])
    [score] = target_scores(found, LOGITS, [7.0], ["north", "east", "south", "west"])
    assert (score.index, score.output, score.sum) == (1, pytest.approx(4 - 2.25), 7.0)
    assert [(other.name, other.weight) for other in score.against] == [("south", 0.5), ("north", 0.5)]
    assert score.said == "east against south and north"


def test_a_class_against_itself_is_named() -> None:
    names = ["cat", "dog", "hen", "owl", "rat"][: len(LOGITS)]
    best = names[int(LOGITS.argmax())]
    for against in ("label", int(LOGITS.argmax())):
        target = TypeAdapter(Target).validate_python({"against": against})
        with pytest.raises(InvalidTarget, match=f"{best!r}"):
            chosen_of(target, LOGITS, int(LOGITS.argmax()), names)
