"""Which class of the model each label of a data set means, and which could be several."""

from typing import Any

import httpx
import pytest

from attribution_contracts.datasets import DatasetReport, Order
from service.gateway.ready_models import ReadyModel
from service.http.problems import ProblemError
from service.submission.classes import classes_of
from tests.service.house import IG, House, refused, report_of, sent
from tests.storage.helpers import identity

TWELVE = [str(number) for number in range(12)]
AS_TEXT = [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]


def model(count: int, *labels: str) -> ReadyModel:
    named: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        named.setdefault(label, []).append(index)
    return ReadyModel(identity(), named, report_of(count), frozenset())


def data_set(*labels: str, order: Order) -> DatasetReport:
    counts = [1] * len(labels)
    return DatasetReport(images=len(labels), labels=list(labels), counts=counts, refused=0, duplicates=0, order=order)


def found(
    labels: list[str], count: int, *, order: Any = None, names: tuple[str, ...] = (), report: Any = Order.VALUE
) -> list[int]:
    return classes_of(data_set(*labels, order=report), model(count, *names), order, "/dataset")


def wrong(*args: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(ProblemError) as caught:
        found(*args, **options)
    [error] = caught.value.problem.errors
    return error.pointer, error.detail


class TestNumbers:
    @pytest.mark.parametrize(("order", "expected"), [("value", list(range(12))), ("text", AS_TEXT)])
    def test_an_order_is_followed(self, order: str, expected: list[int]) -> None:
        assert found(TWELVE, 12, order=order) == expected

    def test_text_is_the_order_of_image_folder(self) -> None:
        folders = sorted(TWELVE)
        assert [folders[index] for index in found(TWELVE, 12, order="text")] == TWELVE

    @pytest.mark.parametrize("names", [(), tuple("abcdefghijkl")])
    def test_without_one_they_are_refused(self, names: tuple[str, ...]) -> None:
        pointer, detail = wrong(TWELVE, 12, names=names)
        assert pointer == "/task/order"
        assert '"value" (label \'2\' is class 2) or "text" (it is class 4;' in detail
        assert ("no names of the model's classes (such as 'a')" if names else "classes have no names") in detail
        assert "needed where the data set's labels are the names of the model's classes" in detail

    @pytest.mark.parametrize(
        ("labels", "count", "expected"),
        [
            (TWELVE[:10], 10, list(range(10))),
            ([f"{number:02}" for number in range(12)], 12, list(range(12))),
            ([f"{number:03}" for number in range(3)], 1000, [0, 1, 2]),
            (["1", "0"], 10, [1, 0]),
            ([str(number) for number in range(1, 10)], 9, list(range(9))),
        ],
    )
    def test_where_both_orders_agree_none_is_needed(self, labels: list[str], count: int, expected: list[int]) -> None:
        assert found(labels, count) == expected

    def test_some_of_many_classes(self) -> None:
        assert wrong(["0", "2"], 1000)[0] == "/task/order"
        assert found(["0", "2"], 1000, order="value") == [0, 2]
        assert found(["0", "2"], 1000, order="text") == [0, 112]

    def test_counted_from_one(self) -> None:
        labels = [str(number) for number in range(1, 11)]
        assert wrong(labels, 10)[0] == "/task/order"
        assert found(labels, 10, order="value") == list(range(10))
        assert found(labels, 10, order="text") == [0, 2, 3, 4, 5, 6, 7, 8, 9, 1]

    def test_numbers_that_are_no_indices(self) -> None:
        labels = ["-5", "-1", "1.5"]
        assert wrong(labels, 3)[0] == "/task/order"
        assert found(labels, 3, order="value") == [0, 1, 2]
        assert found(labels, 3, order="text") == [1, 0, 2]

    def test_labels_in_the_models_order_as_they_were_given(self) -> None:
        assert found(sorted(TWELVE), 12, report=Order.GIVEN) == list(range(12))

    def test_names_of_the_model_go_first(self) -> None:
        names = tuple(sorted(TWELVE))
        assert found(TWELVE, 12, names=names) == AS_TEXT

    def test_two_labels_of_one_class(self) -> None:
        assert wrong(["1", "01"], 3) == (
            "/dataset",
            "labels '1' and '01' both mean class 1 of the model: make them one",
        )


class TestNamesThatRepeat:
    NAMES = ("heron", "crane", "kite", "crane")

    def test_the_ambiguous_one_is_refused_with_its_indices(self) -> None:
        pointer, detail = wrong(["crane", "heron"], 4, names=self.NAMES)
        assert pointer == "/dataset"
        assert "label 'crane' names the model's classes 1 and 3: call the folders of each 1 or 3" in detail

    def test_others_are_not(self) -> None:
        assert found(["heron", "kite"], 4, names=self.NAMES) == [0, 2]

    def test_its_number_stands_for_it(self) -> None:
        assert found(["heron", "kite", "1", "3"], 4, names=self.NAMES) == [0, 2, 1, 3]

    def test_neither_is_a_target_of_that_name(self, house: House) -> None:
        house.add_model("birds", labels=list(self.NAMES))

        def chosen(*classes: int | str) -> httpx.Response:
            explanation = IG | {"target": {"classes": list(classes)}}
            return house.submit(model="birds", inputs=[sent()], explanation=explanation)

        said = refused(chosen("crane"), 422, "invalid_target")["/explanation/target/classes/0"]
        assert said == "the model has 2 classes named 'crane': choose one by index, 1 or 3"
        for answer in (chosen(1), chosen("kite", 3)):
            assert answer.status_code == 202, answer.text
