"""What tells the columns of a comparison apart: that in which they differ, and nothing else."""

import pytest
from pydantic import TypeAdapter

from attribution_contracts.captions import captions
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.methods import Explanation
from attribution_contracts.problems import ErrorCode, problem
from attribution_contracts.results import CellResult, ClassScore
from workers.drawing.sheets import Tile
from workers.drawing.side_by_side import _decision, _rows, _sheets, _tile

READ = TypeAdapter(Explanation)
GRADIENTS, IMPORTANCE = {"method": "integrated_gradients"}, {"method": "multiclass_importance"}


@pytest.mark.parametrize(
    ("explanations", "labels"),
    [
        ([GRADIENTS | {"n_steps": 5}], [""]),
        ([GRADIENTS | {"n_steps": 5}, GRADIENTS | {"n_steps": 50}], ["n_steps 5", "n_steps 50"]),
        (
            [GRADIENTS | {"n_steps": 5}, GRADIENTS | {"n_steps": 50}, IMPORTANCE],
            ["integrated_gradients, n_steps 5", "integrated_gradients, n_steps 50", "multiclass_importance"],
        ),
        (
            [IMPORTANCE | {"attribution": "lrp_epsilon", "epsilon": 0.01}, IMPORTANCE | {"attribution": "deeplift"}],
            ["attribution lrp_epsilon, epsilon 0.01", "attribution deeplift"],
        ),
        (
            [IMPORTANCE | {"attribution": "lrp_epsilon"}, IMPORTANCE | {"attribution": "lrp_epsilon", "epsilon": 0.01}],
            ["epsilon by default", "epsilon 0.01"],
        ),
        (
            [
                GRADIENTS | {"n_steps": 5, "baselines": [{"kind": "black"}, {"kind": "white"}]},
                GRADIENTS | {"n_steps": 5, "baselines": [{"kind": "blur", "sigma": 2.5}]},
            ],
            ["baselines black and white", "baselines blur sigma 2.5"],
        ),
    ],
)
def test_labels_say_what_differs(explanations, labels):
    assert captions([READ.validate_python(given).model_dump() for given in explanations]) == labels


def test_importance_has_a_first_sheet_with_a_row_a_quantity():
    names = ("std", "importance", "individual", "covariation", "silhouette")
    (name, rows), *others = _sheets([names, names])
    assert (name, rows) == ("maps", [["std"] * 2, ["silhouette"] * 2, ["importance"] * 2])
    assert [name for name, _ in others] == list(names)
    assert _sheets([names, ("attributions",)]) == [("maps", [["std", "attributions"]])]
    assert _sheets([("attributions",)] * 2) == [("attributions", [["attributions"] * 2])]


def test_many_maps_go_on_in_another_row_beside_the_image_again():
    image, *maps = (Tile(str(number), None) for number in range(10))
    rows = _rows(image, maps)
    assert [row[0] for row in rows] == [image, image]
    assert [tile for row in rows for tile in row[1:]] == maps
    assert max(map(len, rows)) <= 7


@pytest.mark.parametrize(
    ("code", "said"), [(ErrorCode.METHOD_NOT_APPLICABLE, "does not apply"), (ErrorCode.CHILDREN_FAILED, "failed")]
)
def test_a_cell_without_a_map_says_why(code, said):
    digits = ModelIdentity(name="digits", version="1", sha256="0" * 64)
    cell = CellResult(job=None, model=digits, method="attention", explanation=0, error=problem(code, "no blocks"))
    assert _tile(None, cell, 0, "rollout", "").caption == f"rollout: {said}"


def test_a_wrong_decision_stands_beside_the_true_class():
    beacon = ClassScore(index=437, name="beacon", logit=30.0, probability=0.986)
    breakwater = ClassScore(index=460, name="breakwater", logit=25.0, probability=0.009)
    assert list(_decision(beacon, None)) == list(_decision(beacon, beacon)) == ["beacon (99 %)"]
    assert list(_decision(beacon, breakwater)) == ["beacon (99 %)", "true class: breakwater (1 %)"]
