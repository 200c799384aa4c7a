"""The report on a model as a client reads it: what speaks against its preprocessing, names, graph and methods."""

from pathlib import Path

import pytest
import torch
import torchvision

from attribution.architectures import small_vit
from attribution.memory import peak_bytes
from attribution_contracts.methods import METHODS
from tests.workers import own_networks
from tests.workers.own_networks import SIZE
from tests.workers.through_http import COLOUR, picture, weights_of


def weights(make, **options):
    torch.manual_seed(0)
    return weights_of(make(**options))


SMALL = weights(own_networks.small)


class TestUnits:
    @pytest.mark.parametrize(
        ("given", "name"),
        [
            ({"mean": [123.675, 116.28, 103.53]}, "mean"),
            ({"std": [58.395, 57.12, 57.375]}, "std"),
            ({"mean": [127.5]}, "mean"),
            ({"std": [255.0]}, "std"),
            ({"mean": [0.485, 0.456, 1.5]}, "mean"),
            ({"std": [1.5]}, "std"),
        ],
    )
    def test_those_of_0_to_255_are_noted(self, through, given, name):
        report = through.ready("m", "factory:small", SMALL, preprocessing=COLOUR | given)
        [check] = [check for check in report["checks"] if check["name"] in {"mean", "std"}]
        assert (check["name"], check["verdict"], check["figure"]) == (name, "noted", max(given[name]))
        said = f"{name} {given[name]} looks as if it were meant for pixels in 0..255"
        assert check["detail"].startswith(said)
        assert any(warning.startswith(said) for warning in report["warnings"])

    def test_both(self, through):
        given = {"mean": [127.5], "std": [127.5]}
        report = through.ready("m", "factory:small", SMALL, preprocessing=COLOUR | given)
        assert [check["name"] for check in report["checks"] if check["verdict"] == "noted"] == ["mean", "std"]

    @pytest.mark.parametrize(
        "given", [{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, {"mean": [-1.0], "std": [1.49]}, {}]
    )
    def test_others_are_not(self, through, given):
        report = through.ready("m", "factory:small", SMALL, preprocessing=COLOUR | given)
        assert (report["warnings"], {check["name"] for check in report["checks"]} & {"mean", "std"}) == ([], set())

    def test_a_mean_without_a_std_is_told(self, through):
        given = {"mean": [0.485, 0.456, 0.406]}
        report = through.ready("m", "factory:small", SMALL, preprocessing=COLOUR | given)
        [check] = [check for check in report["checks"] if check["verdict"] == "noted"]
        assert check["name"] == "std"
        assert "is subtracted, but std is 1" in check["detail"]
        assert check["detail"] in report["warnings"]


class TestNormalisation:
    SMALLEST = weights(torchvision.models.squeezenet1_1, num_classes=3)
    """Of torchvision's, with few classes."""

    def warnings(self, through, **given):
        preprocessing = {"size": [32, 32]} | given
        found = through.ready(
            "m", "torchvision:squeezenet1_1", self.SMALLEST, preprocessing=preprocessing, options={"num_classes": 3}
        )
        told = [warning for warning in found["warnings"] if "no mean and no std" in warning]
        # What is noted is told of every result, too.
        assert told == [check["detail"] for check in found["checks"] if check["name"] == "normalisation"]
        return told

    def test_a_network_of_torchvision_without_any_is_told_what_its_weights_use(self, through):
        [said] = self.warnings(through)
        assert "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225" in said

    def test_one_that_has_some_is_not(self, through):
        assert self.warnings(through, mean=[0.5], std=[0.5]) == []

    def test_the_other_colour_is_told_with_its_option(self, through):
        said = through.refused("a", "factory:grey", weights(own_networks.grey))
        assert "its first convolution takes 1, and color=rgb gives 3: register it with --color grey" in said
        given = {"size": [32, 32], "color": "grey"}
        said = through.refused(
            "b", "torchvision:squeezenet1_1", self.SMALLEST, preprocessing=given, options={"num_classes": 3}
        )
        assert "register it with --color rgb" in said


class TestRepeatedLabels:
    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (["crane", "heron", "crane"], "1 label names several classes ('crane' is 0 and 2)"),
            (["maillot"] * 3, "1 label names several classes ('maillot' is 0 and 1 and 2)"),
        ],
    )
    def test_they_are_accepted_and_told_with_their_indices(self, through, labels, said):
        [warning] = through.ready("m", "factory:small", SMALL, labels=labels)["warnings"]
        assert warning == f"{said}: choose those by index"

    def test_several(self, through):
        labels = [f"class {number % 7}" for number in range(16)]
        big = weights(own_networks.small, num_classes=16)
        [warning] = through.ready("m", "factory:small", big, options={"num_classes": 16}, labels=labels)["warnings"]
        assert warning.startswith("7 labels name several classes ('class 0' is 0 and 7 and 14; ")
        assert warning.count(" is ") == 5

    def test_in_another_case_they_differ(self, through):
        assert through.ready("m", "factory:small", SMALL, labels=["Crane", "crane", "heron"])["warnings"] == []

    def test_a_job_chooses_them_by_index(self, through):
        through.ready("m", "factory:small", SMALL, labels=["crane", "heron", "crane"])
        _, result = through.explain("m", picture(), target={"classes": [2, "heron"]}, n_steps=2)
        assert [(one["index"], one["name"]) for one in result["images"][0]["targets"]] == [(2, "crane"), (1, "heron")]
        answer = through.submit(
            model="m",
            inputs=[{"image": result["images"][0]["sha256"]}],
            explanation={"method": "integrated_gradients", "target": {"classes": ["crane"]}},
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_target")
        assert "choose one by index, 0 or 2" in answer.json()["detail"]


class TestLabels:
    @pytest.mark.parametrize("factory", ["small", "by_numpy"])
    def test_another_number_than_classes_is_refused(self, through, factory):
        said = through.refused("m", f"factory:{factory}", weights(getattr(own_networks, factory)), labels=["a", "b"])
        assert said == "there are 2 labels, but the network has 3 classes: give one label for each, or none"

    def test_before_anything_is_measured(self, through, monkeypatch):
        monkeypatch.setattr("workers.kinds.check.network_of", lambda *_: pytest.fail("it was measured"))
        assert "there are 2 labels" in through.refused("m", "factory:small", SMALL, labels=["a", "b"])


class TestNotTraced:
    @pytest.mark.parametrize(
        ("factory", "place"),
        [
            ("branching", "in Branching.forward (own_networks.py, line "),
            ("repeating", "in module 'body' (own_networks.py, line "),
            ("by_numpy", "in ByNumpy.forward (own_networks.py, line "),
        ],
    )
    def test_module_and_line_are_named(self, through, factory, place):
        report = through.ready("m", f"factory:{factory}", weights(getattr(own_networks, factory)))
        assert (report["traced"], report["layers"]) == (False, [])
        [said] = [warning for warning in report["warnings"] if warning.startswith("not traced (")]
        assert place in said
        line = int(said.partition(f"{place}")[2].partition(")")[0])
        lines = Path(own_networks.__file__).read_text().splitlines()
        assert any(word in lines[line - 1] for word in ("float(", "int("))
        assert not report["methods"]["layer_shapley"]["applies"]
        assert report["methods"]["integrated_gradients"]["applies"]

    def test_what_is_traced_is_not_remarked_on(self, through):
        report = through.ready("m", "factory:small", SMALL)
        assert (report["traced"], report["warnings"]) == (True, [])
        assert report["layers"][0]["name"] == "conv1"


class TestMemory:
    """What a pass takes is estimated before one is made."""

    @pytest.mark.parametrize(
        ("architecture", "options", "size"),
        [
            ("torchvision:resnet18", {"num_classes": 3}, [4096, 4096]),
            ("torchvision:squeezenet1_1", {"num_classes": 3}, [4096, 4096]),
            ("factory:small", {}, [4096, 4096]),
        ],
    )
    def test_an_input_that_would_take_too_much_is_refused(self, through, architecture, options, size):
        if architecture == "factory:small":
            through.context.settings = through.context.settings.model_copy(update={"check_bytes": 2**28})
            content = SMALL
        else:
            content = weights(
                lambda: torchvision.models.get_model(architecture.partition(":")[2], weights=None, **options)
            )
        preprocessing = {"size": size}
        said = through.refused("m", architecture, content, options=options, preprocessing=preprocessing)
        assert f"a pass of one image of (3, {size[0]}, {size[1]}) computes" in said
        assert "use a smaller size" in said

    def test_nothing_is_allocated_for_what_does_not_fit(self, through):
        content = weights(own_networks.enormous)
        through.ready("warm", "factory:small", SMALL)
        before = peak_bytes(torch.device("cpu"))
        said = through.refused("m", "factory:enormous", content, preprocessing={"size": [4096, 4096]})
        assert "computes 512.0 GiB and needs about 1024.0, allowed are 4.0" in said
        assert "some 255 x 255 would fit" in said
        assert peak_bytes(torch.device("cpu")) - before < 2**27  # not even one image: 192 MiB

    def test_the_limit_is_the_operators(self, through):
        needed = 2 * (4 * 4 + 4) * SIZE * SIZE
        for budget, state in ((needed, "refused"), (2**30, "ready")):
            through.context.settings = through.context.settings.model_copy(update={"check_bytes": budget})
            assert through.register("m", "factory:small", SMALL, version=state)["state"] == state


class TestMethodsAreTried:
    NETWORKS = (
        "small",
        "padded_pool",
        "branching",
        "repeating",
        "without_second_gradient",
        "sure",
        "one_pixel",
        "huge",
    )

    @pytest.mark.parametrize("factory", NETWORKS)
    def test_those_that_apply_explain_an_image_and_the_others_say_why(self, through, factory):
        report = through.ready("m", f"factory:{factory}", weights(getattr(own_networks, factory)))
        for method, found in report["methods"].items():
            assert bool(found["reason"]) is not found["applies"]
            if method == "decomposition":
                continue
            is_of_images = METHODS[method].takes == "images"
            given = {"method": method} | ({"n_steps": 2} if method in {"feature_visualization", "inversion"} else {})
            inputs = {"inputs": [{"image": upload(through)}]} if is_of_images else {}
            answer = through.submit(model="m", explanation=given, **inputs)
            if found["applies"]:
                job, result = through.ended(answer)
                assert job["status"] == "succeeded", (method, job["error"])
                assert not is_of_images or result["images"][0]["error"] is None
            else:
                assert (answer.status_code, answer.json()["code"]) == (422, "method_not_applicable"), method
                assert found["reason"] in answer.json()["detail"]

    def test_what_is_not_seen_in_the_graph_is_seen_by_trying(self, through):
        """Nothing is wrong with its outputs and gradients, but squares of them are infinite."""
        report = through.ready("m", "factory:huge", weights(own_networks.huge))
        refused = {name for name, found in report["methods"].items() if not found["applies"]}
        assert "multiclass_importance" in refused
        assert not refused & {"integrated_gradients", "input_x_gradient", "saliency"}
        assert "not finite" in report["methods"]["multiclass_importance"]["reason"]

    def test_an_infinite_layer_that_is_chosen_is_named(self, through):
        through.ready("m", "factory:padded_pool", weights(own_networks.padded_pool))
        for layers in (["pad"], ["pad", "conv1"], ["p*"]):
            job, _ = through.explain("m", picture(), method="layer_shapley", layers=layers)
            assert (job["status"], job["error"]["code"]) == ("failed", "no_image_explained")
            assert "the scores of layers pad are not finite" in job["error"]["detail"]


class TestWhatCanBeAsked:
    def test_a_transformer_has_its_own_rule_and_its_layers_end_where_patches_are_read_last(self, through):
        vit, shape = weights(small_vit, num_classes=3, side=16), {"preprocessing": COLOUR | {"size": [16, 16]}}
        options = {"options": {"num_classes": 3}}
        report = through.ready("m", "small_vit", vit, **shape, **options)
        assert report["relevance_rule"] == "cp_lrp"
        assert "input" in report["mapped"]
        assert not {"heads", "heads.head"} & set(report["mapped"])
        for asked, named in (
            ({"method": "lrp", "rule": "epsilon"}, "cp_lrp"),
            ({"method": "cam", "layers": ["heads.head"]}, report["mapped"][-1]),
        ):
            answer = through.submit(model="m", inputs=[{"image": upload(through)}], explanation=asked)
            assert answer.status_code == 422
            assert named in answer.text

    def test_a_network_of_convolutions_has_the_rules_of_layers(self, through):
        report = through.ready("m", "factory:small", SMALL)
        assert report["relevance_rule"] == "epsilon_plus"
        assert "input" in report["mapped"]


def upload(through):
    answer = through.http.post("/v1/images", content=picture(), headers={"content-type": "image/png"})
    return answer.json()["sha256"]


class TestOutputs:
    @pytest.mark.parametrize(
        ("factory", "said"),
        [
            ("pair", "the network returns a tuple, expected one tensor of logits"),
            ("dictionary", "the network returns a dict, expected one tensor of logits"),
            ("squeezed", r"the network returns shape (3,) for a batch of 1, expected (1, classes)"),
            ("maps", "the network returns shape (1, 3, 1, 1) for a batch of 1, expected (1, classes)"),
            ("siamese", "the network fails on inputs of shape (1, 3, 16, 16): "),
        ],
    )
    def test_what_are_no_logits_is_refused_with_what_to_do(self, through, factory, said):
        assert said in through.refused("m", f"factory:{factory}", SMALL)

    def test_a_flag_with_a_default_is_no_second_input(self, through):
        assert through.ready("m", "factory:with_flag", SMALL)["classes"] == 3

    def test_weights_of_another_number_of_channels(self, through):
        said = through.refused("m", "factory:small", SMALL, preprocessing={"color": "grey", "size": [SIZE, SIZE]})
        assert "3 channels" in said
