"""What `attribution task` prints of a report."""

from pathlib import Path
from typing import Any

from storage.ledger import claims
from tests.cli.conftest import Run
from tests.service.house import House, result_of
from tests.service.submission.test_tasks import add_dataset


def evaluated(house: House, run: Run, out: Path, wrong: int, names: bool = True) -> str:
    """What is printed of an evaluation with so many mistakes."""
    house.add_model(labels=[])
    add_dataset(house, *"0123456789")
    house.submit(model="digits", dataset="flowers", task={"task": "evaluate"})
    claimed = house.claim()
    surest = [
        {"image": f"3/{at}.png", "label": 3, "predicted": 5, "probability": 0.9 - at / 100, "names": None}
        for at in range(min(wrong, 100))
    ]
    for one in surest if names else ():
        one["names"] = ("three", "five")
    report = {"misclassified": {"images": wrong, "surest": surest}}
    body = result_of(claimed, {}).model_copy(update={"details": {"report": report}})
    house.finish(claimed, claims.Succeeded(body.model_dump(mode="json")))
    found = run("task", "evaluate", "--model", "digits", "--dataset", "flowers", "--out", str(out))
    assert found.exit_code == 0, found.output
    return found.output


def test_the_surest_mistakes_are_shown_and_where_the_others_are(house: House, run: Run, tmp_path: Path) -> None:
    said = evaluated(house, run, tmp_path / "out", 1234)
    assert "misclassified:    1234 images; the surest mistakes:" in said
    assert said.index("3/0.png: three, taken for five (0.900)") < said.index("3/4.png: three, taken for five (0.860)")
    assert "3/5.png" not in said
    assert "result.json has the first 100" in said
    assert "3/99.png" in (tmp_path / "out" / "result.json").read_text()


def test_all_of_some_mistakes_are_in_the_result(house: House, run: Run, tmp_path: Path) -> None:
    assert "result.json has all 18" in evaluated(house, run, tmp_path / "out", 18)


def test_few_mistakes_of_a_model_without_names_are_all_shown(house: House, run: Run, tmp_path: Path) -> None:
    said = evaluated(house, run, tmp_path / "out", 2, names=False)
    assert "3/1.png: class 3, taken for class 5 (0.890)" in said
    assert "result.json has" not in said


def test_where_nothing_is_wrong(house: House, run: Run, tmp_path: Path) -> None:
    assert "misclassified:    no image" in evaluated(house, run, tmp_path / "out", 0)


def printed(house: House, run: Run, out: Path, task: str, report: dict[str, Any]) -> str:
    """What is printed of the report of a task."""
    house.add_model()
    add_dataset(house, "seven", "one")
    house.submit(model="digits", dataset="flowers", task={"task": task})
    claimed = house.claim()
    body = result_of(claimed, {}).model_copy(update={"details": {"report": report}})
    house.finish(claimed, claims.Succeeded(body.model_dump(mode="json")))
    found = run("task", task, "--model", "digits", "--dataset", "flowers", "--out", str(out))
    assert found.exit_code == 0, found.output
    return found.output


def test_what_excites_feature_maps(house: House, run: Run, tmp_path: Path) -> None:
    channels = [{"channel": at, "mean": 0.5, "most": [{"value": 3.25, "image": "one/a.png"}]} for at in range(14)]
    said = printed(house, run, tmp_path / "out", "maximal_patches", {"layer": "fc", "channels": channels})
    assert "0: 3.25 of one/a.png (mean 0.5)" in said
    assert "and 2 more in result.json" in said


def test_how_far_components_tell_classes_apart(house: House, run: Run, tmp_path: Path) -> None:
    report = {"separation": {"label": 0.5, "prediction": 0.75}}
    said = printed(house, run, tmp_path / "out", "representation_pca", report)
    assert "50.0% between classes, 75.0% between predictions; see points.html" in said


def test_what_cues_carry(house: House, run: Run, tmp_path: Path) -> None:
    some = {"cue": "edges", "accuracy": 0.5, "carried": 0.4, "carried_error": 0.1, "kept": 0.6}
    none = some | {"cue": "texture", "carried": None, "carried_error": None}
    said = printed(house, run, tmp_path / "out", "part_shape_texture", {"cues": [some, none]})
    assert "edges:      carries 40.0% ± 10.0%; right 50.0%, the same answer 60.0%" in said
    assert "texture:    nothing to carry; right 50.0%" in said


def test_which_classes_have_several_strategies(house: House, run: Run, tmp_path: Path) -> None:
    def of(index: int, *sizes: int) -> dict[str, object]:
        return {"index": index, "name": None, "strategies": [{"images": size} for size in sizes]}

    several = {"several": [3], "by_class": [of(2, 40), of(3, 30, 12)]}
    said = printed(house, run, tmp_path / "out", "strategies", several)
    assert "3: 30 images and 12 images" in said
    assert "one in each of the other 1 classes" in said


def test_classes_that_have_one_strategy_each(house: House, run: Run, tmp_path: Path) -> None:
    one = {"index": 2, "name": "two", "strategies": [{"images": 40}]}
    assert "one in each of 1 classes" in printed(house, run, tmp_path / "out", "strategies", {"by_class": [one]})


def test_what_is_found_of_an_explained_data_set(house: House, run: Run, tmp_path: Path) -> None:
    report = {
        "errors": [{"image": f"{at}.png", "code": "invalid_image", "detail": "too wide"} for at in range(7)],
        "worst": [{"image": "8.png", "value": 0.01}],
        "figures": [{"name": "deletion_saco", "images": 3, "mean": 0.5, "std": 0.25, "least": 0.2, "most": 0.9}],
        "by_class": [{"index": 7, "name": "seven", "images": 40, "right": 0.975}],
    }
    house.add_model()
    add_dataset(house, "seven", "one")
    task = {"task": "explain", "explanation": {"method": "lrp", "target": "all"}}
    house.submit(model="digits", dataset="flowers", task=task)
    claimed = house.claim()
    body = result_of(claimed, {}).model_copy(update={"details": {"report": report}})
    house.finish(claimed, claims.Succeeded(body.model_dump(mode="json")))
    options = ["--method", "lrp", "--param", "explanation.target=all", "--out", str(tmp_path / "out")]
    said = run("task", "explain", "--model", "digits", "--dataset", "flowers", *options).output
    assert "4.png: too wide" in said
    assert "5.png" not in said
    assert "and 2 more in result.json" in said
    assert "8.png: 0.01" in said
    assert "deletion_saco: 0.5 \N{PLUS-MINUS SIGN} 0.25 between images" in said
    assert "seven: 40 images, 97.5% right" in said


def test_a_method_belongs_to_the_task_explain(run: Run) -> None:
    said = run("task", "fit", "--model", "digits", "--dataset", "flowers", "--method", "lrp")
    assert said.exit_code == 2
    assert "--method is for the task explain" in said.output
