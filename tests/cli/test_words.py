"""What is wrong is said in the words that were given: options, files, and what may have been meant."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import click
import pytest

from attribution_contracts.methods import METHODS
from attribution_contracts.models import MethodApplies, Preprocessing
from attribution_contracts.problems import ErrorCode, problem
from cli.explain import _request
from cli.explained import _label, _variation
from cli.image_files import images_in
from cli.model_reports import found as summary_of
from cli.models import add
from storage.ledger.claims import Failed
from storage.ledger.records import Claim
from tests.cli.conftest import Run
from tests.service.house import House, picture, report_of

IG = ("--method", "integrated_gradients")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(picture())
    return path


def test_options_of_an_explanation(house: House, run: Run, image: Path, tmp_path: Path) -> None:
    house.add_model()
    (tmp_path / "b.png").write_bytes(b"no image")
    out = tmp_path / "out"
    for words, said in (
        ((*IG, "--param", "n_steps=0"), "--param n_steps: "),
        ((*IG, "--param", "n_step=5"), "did you mean 'n_steps'"),
        (("--method", "integrated_gradient"), "did you mean 'integrated_gradients'"),
        (("--target", "sevn"), "--target: the model has no class named 'sevn'; did you mean 'seven'"),
        ((*IG, "--param", "baselines=blur"), """; say --param 'baselines=[{"kind": "blur"}]'"""),
        ((*IG, "--param", 'baselines={"kind":"blur"}'), """; say --param 'baselines=[{"kind": "blur"}]'"""),
        (("--method", "layer_shapley", "--param", "layers=stages.9"), """; say --param 'layers=["stages.9"]'"""),
        ((*IG, "--param", "smooth=3"), "--param smooth: expected an object with some of kind, n_samples, noise"),
        (("--method", "occlusion", "--param", "window=8x8"), "down and across, such as [8, 8]"),
        (("--method", "occlusion", "--param", "window=8x8"), "; say --param 'window=[8, 8]'"),
        (("--method", "cam", "--param", "variants=grad_cam"), """; say --param 'variants=["grad_cam"]'"""),
        (
            ("--method", "segment_shapley", "--param", "sampler=exact"),
            "--method segment_shapley: sampler is exact, and",
        ),
        (("--method", "rise", "--param", "seed=4"), "beside 'explanation', not in it (given: 4); say --seed"),
        (("--method", "lrp", "--baseline", "blur"), "--baseline: Extra inputs are not permitted"),
        (("--render", "overlay=colour"), "--render overlay: "),
        (("--render", "legend"), "--render 'legend': expected KEY=JSON"),
        (("--label", "sevn"), "--label: the model has no class named 'sevn'; did you mean 'seven'"),
        (("--against", "runner-up"), "--against: the model has no class named 'runner-up'; did you mean 'runner_up'"),
        (("--against", '{"nearset": 3}'), "--against nearset: Extra inputs are not permitted; did you mean 'nearest'"),
        ((*IG, "--also", '{"n_steps": -1}'), "--also 1 n_steps: "),
        ((str(tmp_path / "b.png"),), f"{tmp_path / 'b.png'}: "),
    ):
        found = run("explain", str(image), "--model", "digits", "--out", str(out), *words)
        assert found.exit_code == (2 if "expected KEY=JSON" in said else 1), found.output
        assert said in found.output
        assert "/explanation" not in found.output
    two = run("explain", str(image), "--model", "digits", "--label", "one", "--label", "two")
    assert (two.exit_code, "2 classes for 1 images" in two.output) == (2, True)
    unknown = run("explain", str(image), "--model", "digitz", "--out", str(out))
    assert "--model: no model 'digitz' is registered; did you mean 'digits'" in unknown.output
    assert not out.exists(), "a refused job leaves no folder"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--architecture", "resnet50"), "--architecture: expected torchvision:<name>"),
        (("--architecture", "resnet50"), "or 'torchvision:resnet50'?"),
        (("--architecture", "mnist-cnn"), "did you mean 'mnist_cnn'"),
        (("--version", "V 1"), "--version: expected 1 to 64 lower-case letters"),
        (("--mean", "0.1,0.2"), "--preprocessing: mean must have 1 or 3 numbers"),
        (("--preprocessing", '{"resise": 32}'), "--preprocessing resise: Extra inputs are not permitted; did you mean"),
        (("--preprocessing", '{"resize": 0}'), "--resize: "),
        (("--size", "0", "5"), "size must be two numbers from 1 to 4096"),
        (("--size", "32", "--mean", "0.1"), "expected two numbers, HEIGHT WIDTH such as 32 32; given '--mean'"),
    ],
)
def test_options_of_a_model(run: Run, words: tuple[str, ...], said: str) -> None:
    given = ("--architecture", "mnist_cnn", "--size", "28", "28", "--torchvision-weights", "NONE", "--no-wait")
    found = run("models", "add", "mine", *given, *words)
    assert found.exit_code == 2, found.output  # nothing was sent
    assert said in found.output


def test_a_size_that_is_not_said(run: Run) -> None:
    found = run("models", "add", "mine", "--architecture", "mnist_cnn", "--torchvision-weights", "NONE", "--no-wait")
    assert (found.exit_code, "--size: is missing" in found.output) == (2, True), found.output


def test_a_folder_stands_for_its_images(house: House, run: Run, image: Path, tmp_path: Path) -> None:
    house.add_model()
    folder = tmp_path / "seven"
    folder.mkdir()
    empty = run("explain", str(folder), "--model", "digits", "--out", str(tmp_path / "out"))
    assert empty.exit_code == 2
    assert f"the folder {folder} has no .jpg, .jpeg, .png, .webp files" in " ".join(empty.output.split())
    for name in ("b.png", "a.PNG", "notes.txt", ".hidden.png"):
        (folder / name).write_bytes(picture())
    (folder / "deeper.png").mkdir()
    words = ("--label-from", "folder", "--target", "sevn")  # refused by the service once all is read
    found = run("explain", str(folder), str(image), "--model", "digits", "--out", str(tmp_path / "out"), *words)
    assert "no class named 'sevn'" in found.output
    assert [path.name for path in images_in(folder)] == ["a.PNG", "b.png"]


def test_a_true_class_that_is_none_is_told_with_the_line_of_the_table(
    house: House, run: Run, image: Path, tmp_path: Path
) -> None:
    house.add_model()
    table = tmp_path / "labels.csv"
    table.write_text(f"file,label\nother.png,one\n{image.name},sevn\n")
    found = run("explain", str(image), "--model", "digits", "--label-from", str(table), "--out", str(tmp_path / "out"))
    said = f"--label-from {table}, line 3: the model has no class named 'sevn'; did you mean 'seven'"
    assert said in found.output


def test_a_method_like_no_other_is_told_which_there_are(house: House, run: Run, image: Path, tmp_path: Path) -> None:
    house.add_model()
    found = run("explain", str(image), "--model", "digits", "--method", "lime", "--out", str(tmp_path / "out"))
    assert "did you mean" not in found.output
    assert "'lime' is no method; known are 'activation_maps', 'attention', 'auto'" in found.output


def test_a_specification_that_expects_a_file_of_weights(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text('{"architecture": "mnist_cnn", "preprocessing": {"size": [28, 28]}, "weights": {"part": "w"}}')
    found = run("models", "add", "mine", "--spec", str(file))
    assert found.exit_code == 2
    assert "the specification expects a file of weights ('w'): say --weights FILE" in found.output


def test_a_folder_that_cannot_be_made(run: Run, image: Path) -> None:
    found = run("explain", str(image), "--model", "digits", "--out", str(image / "out"))
    assert found.exit_code == 2
    assert f"cannot be made: {image} is a file" in found.output


def test_all_of_the_preprocessing_is_reachable(house: House, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "preprocessing.toml"
    file.write_text('color = "grey"\nsize = [28, 28]\nresize = 32\nstd = [0.5]\n')
    given = ("--architecture", "mnist_cnn", "--torchvision-weights", "NONE", "--no-wait")
    found = run("models", "add", "mine", *given, "--preprocessing", str(file), "--mean", "0.25")
    assert found.exit_code == 0, found.output
    told = house.http.get("/v1/models/mine").json()["preprocessing"]
    assert (told["color"], told["size"], told["resize"], told["std"], told["mean"]) == (
        "grey",
        [28, 28],
        32,
        [0.5],
        [0.25],
    )
    lost = run("models", "add", "mine", *given, "--preprocessing", str(tmp_path / "nothing.json"))
    assert lost.exit_code == 2
    assert "--preprocessing" in lost.output


def test_without_a_file_there_is_nothing_to_register(run: Run) -> None:
    found = run("models", "sync")
    assert found.exit_code == 0
    assert "nothing to register" in found.output


def test_every_way_of_scaling_can_be_said() -> None:
    [option] = [found for found in add.params if found.name == "interpolation"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == get_args(Preprocessing.model_fields["interpolation"].annotation)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("task evalute --model a --dataset b", "Did you mean 'evaluate'"),
        ("models add a --color gray", "Did you mean 'grey'?"),
        ("jobs list --status canceled", "Did you mean 'cancelled'"),
        ("models ad", "Did you mean 'add'?"),
        ("modls list", "Did you mean 'models'?"),
    ],
)
def test_a_misspelt_word_is_told_what_it_may_mean(run: Run, words: str, said: str) -> None:
    found = run(*words.split())
    assert (found.exit_code, said in found.output) == (2, True), found.output


def test_a_word_like_no_other_gets_no_hint(run: Run) -> None:
    assert "mean" not in run("models", "add", "a", "--color", "xyz").output


def test_a_decomposition_needs_a_fit(run: Run, image: Path) -> None:
    for words in (("--method", "decomposition"), ("--also", '{"method": "decomposition"}')):
        found = run("explain", str(image), "--model", "digits", *words)
        assert found.exit_code == 2
        said = " ".join(found.output.split())
        assert "run `attribution task fit --model digits --dataset NAME` first, then say `--param fit=DIGEST`" in said


def failed(house: House, run: Run, *words: str) -> tuple[str, Claim]:
    """What a command says whose job fails, and the job as a worker found it."""
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(run, *words)
        while not said.done() and not house.http.get("/v1/jobs", params={"status": "queued"}).json()["jobs"]:
            time.sleep(0.05)
        claimed = house.claim()
        house.finish(claimed, Failed(problem(ErrorCode.CHILDREN_FAILED, "it was stopped")))
        return said.result().output, claimed


def test_without_a_method_it_is_the_default_of_the_model_which_is_told(house: House, run: Run, image: Path) -> None:
    report = report_of(10)
    applies = {name: MethodApplies(applies=name in {"cam", "saliency"}, reason="no") for name in METHODS}
    house.add_model(report=report.model_copy(update={"methods": applies}))
    said, claimed = failed(house, run, "explain", str(image), "--model", "digits")
    assert "method cam, the default of digits: one forward and one backward pass" in said
    assert claimed.resolved["explanation"]["method"] == "cam"


def test_two_methods_are_asked_for_side_by_side(run: Run, image: Path) -> None:
    found = run("explain", str(image), "--model", "digits", "--method", "lrp", "--method", "cam")
    assert found.exit_code == 2
    assert """lrp and cam were given: say one here, and further ones as --also '{"method": "cam"}'""" in " ".join(
        found.output.split()
    )


def test_a_parameter_needs_a_method_that_is_named(house: House, run: Run, image: Path) -> None:
    house.add_model()
    for words, said in ((("--param", "n_steps=8"), "--param n_steps"), (("--baseline", "blur"), "--baseline")):
        found = run("explain", str(image), "--model", "digits", *words)
        assert found.exit_code == 2
        assert f"{said} can be said of a method that is named" in " ".join(found.output.split())


@pytest.mark.parametrize(("figure", "other"), [("occlusion", "deletions"), ("deletions", "occlusion")])
def test_what_takes_the_place_of_pixels(house: House, run: Run, image: Path, figure: str, other: str) -> None:
    house.add_model()
    words = ("--method", "saliency", f"--{figure}-baseline", "blur")
    _, claimed = failed(house, run, "explain", str(image), "--model", "digits", *words)
    assert claimed.resolved["quality"][figure]["baseline"]["kind"] == "blur"
    assert other not in claimed.resolved["quality"]


def test_neighbours_take_the_place_of_pixels_in_curves_alone(house: House, run: Run, image: Path) -> None:
    house.add_model()
    words = ("explain", str(image), "--model", "digits", "--method", "saliency")
    _, claimed = failed(house, run, *words, "--occlusion-baseline", "noisy_linear")
    assert claimed.resolved["quality"]["occlusion"]["baseline"] == {"kind": "noisy_linear", "noise": 0.01}
    refused = run(*words, "--deletions-baseline", "noisy_linear")
    assert refused.exit_code == 2
    assert "'noisy_linear' is not one of" in refused.output


def test_single_deletions_are_asked_for(house: House, run: Run, image: Path) -> None:
    house.add_model()
    _, claimed = failed(house, run, "explain", str(image), "--model", "digits", "--method", "saliency", "--deletions")
    assert claimed.resolved["quality"]["deletions"]["grid"] == 7


def test_the_help_names_every_method(run: Run) -> None:
    said = run("explain", "--help").output
    assert [name for name in METHODS if name != "self_test" and name not in said] == []


def test_columns_side_by_side_are_told_by_what_they_differ_in() -> None:
    explanations = [{"method": "lrp", "rule": "epsilon"}, {"method": "lrp", "rule": "gamma"}]
    result = SimpleNamespace(provenance=SimpleNamespace(parameters={"explanations": explanations}))
    cell = SimpleNamespace(model=SimpleNamespace(name="digits", version="1"), method="lrp", explanation=1)
    assert _label(result, cell) == "digits@1, lrp, rule gamma"


def test_methods_that_do_not_apply_for_one_reason_are_named_together() -> None:
    applies = {name: MethodApplies(applies=False, reason="it has no layers") for name in ("cam", "lrp")}
    told = summary_of(report_of(10).model_copy(update={"methods": applies}))
    assert told["do not apply"] == "cam, lrp: it has no layers"


def test_passes_are_not_called_steps() -> None:
    image = SimpleNamespace(
        class_variation=SimpleNamespace(
            attributed_variation=1.0, completeness_delta=0.1, relative_error=None, classes=[0, 1], n_rows=12
        )
    )
    [[_, _, steps]] = _variation(image)
    assert steps == "12 passes"


def test_explanations_beside_each_other_are_of_the_same_target():
    given = {
        "method": "integrated_gradients",
        "params": ("n_steps=5",),
        "top_k": None,
        "targets": ("4",),
        "against": "label",
        "baselines": (),
        "models": ("digits",),
        "seed": 0,
        "drawing": (),
        "occlusion": False,
        "occlusion_baseline": None,
        "deletions": False,
        "deletions_baseline": None,
        "others": (
            '{"n_steps": 9}',
            '{"method": "cam"}',
            '{"method": "saliency", "target": "predicted"}',
            '{"method": "multiclass_importance"}',
        ),
    }
    target = {"classes": [4], "against": "label"}
    assert _request(given)["explanations"] == [
        {"method": "integrated_gradients", "n_steps": 5, "target": target},
        {"method": "integrated_gradients", "n_steps": 9, "target": target},
        {"method": "cam", "target": target},
        {"method": "saliency", "target": "predicted"},
        {"method": "multiclass_importance"},
    ]


def test_a_method_that_looks_at_the_model_alone_takes_no_images(run: Run, image: Path) -> None:
    both = run("explain", str(image), "--model", "digits", "--method", "first_layer_filters")
    assert "first_layer_filters looks at the model alone: leave the images out" in both.output
    none = run("explain", "--model", "digits", "--method", "saliency")
    assert "give images to explain" in none.output
    assert both.exit_code == none.exit_code == 2
