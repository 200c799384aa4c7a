"""Weights files as tools of the field leave them: a shared tensor once, a prefix before each name, options left out."""

import itertools

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save, save_file, save_model
from torch import nn

from attribution_contracts.models import ModelSpec
from tests.workers import own_networks
from tests.workers.own_networks import SIZE
from tests.workers.through_http import weights_of
from workers.models.loading import load_module
from workers.models.weights import load_into
from workers.problems import InvalidModel

SHARED = {
    "tied-weights": own_networks.tied_weights,
    "one-module-twice": own_networks.one_module_twice,
    "tied-heads": own_networks.tied_heads,
}
PREFIXES = ("module.", "_orig_mod.", "model.", "module._orig_mod.", "net.backbone.")


def pictures(count=2):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def built(make, seed=0):
    torch.manual_seed(seed)
    return make().eval()


def same(given, expected):
    with torch.no_grad():
        torch.testing.assert_close(given(pictures()), expected(pictures()), rtol=0, atol=0)


def as_saved(module, path):
    """The file of safetensors' own writer, which keeps a shared tensor once, under one of its names."""
    save_model(module, str(path))
    state = load_file(path)
    assert state.keys() < module.state_dict().keys()
    return state


class TestSharedTensors:
    @pytest.mark.parametrize("name", SHARED)
    def test_a_file_that_has_each_once_is_accepted_and_the_report_says_so(self, through, tmp_path, name):
        source = built(SHARED[name])
        state = as_saved(source, tmp_path / "w.safetensors")
        report = through.ready(name, f"factory:{name.replace('-', '_')}", save(state))
        [said] = [warning for warning in report["warnings"] if warning.startswith("tensors that the network shares")]
        for absent in source.state_dict().keys() - state.keys():
            if not absent.endswith("num_batches_tracked"):
                assert f"{absent} is " in said

    @pytest.mark.parametrize("name", SHARED)
    def test_it_computes_what_was_saved(self, tmp_path, name):
        source, target = built(SHARED[name]), built(SHARED[name], seed=1)
        as_saved(source, tmp_path / "w.safetensors")
        load_into(target, tmp_path / "w.safetensors")
        same(target, source)

    @pytest.mark.parametrize("name", SHARED)
    def test_any_of_the_names_will_do(self, tmp_path, name):
        source = built(SHARED[name])
        state, path = source.state_dict(), tmp_path / "w.safetensors"
        shared = {}
        for key, tensor in source.state_dict(keep_vars=True).items():
            shared.setdefault(id(tensor), []).append(key)
        for chosen in itertools.islice(itertools.product(*shared.values()), 8):
            save_file({key: state[key].clone() for key in chosen}, path)
            target = built(SHARED[name], seed=1)
            load_into(target, path)
            same(target, source)

    def test_under_all_names_nothing_is_remarked_on(self, through):
        source = built(own_networks.tied_weights)
        assert through.ready("all", "factory:tied_weights", weights_of(source))["warnings"] == []

    def test_a_tensor_that_is_nowhere_is_missing(self, tmp_path):
        state = as_saved(built(own_networks.tied_heads), tmp_path / "w.safetensors")
        [gone] = [key for key in state if key.endswith("weight") and key.split(".")[0] in {"first", "second", "third"}]
        del state[gone]
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(InvalidModel, match=r"3 missing \(first\.weight, second\.weight, third\.weight\)"):
            load_into(built(own_networks.tied_heads), tmp_path / "w.safetensors")

    @pytest.mark.parametrize("name", SHARED)
    def test_two_values_for_one_tensor_are_refused_with_both_names(self, tmp_path, name):
        source = built(SHARED[name])
        state = {key: value.clone() for key, value in source.state_dict().items()}
        names = {}
        for key, tensor in source.state_dict(keep_vars=True).items():
            names.setdefault(id(tensor), []).append(key)
        first, second = next(sorted(found)[:2] for found in names.values() if len(found) > 1)
        state[second] = state[second] + 1
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(InvalidModel, match=f"one tensor as {first} and {second}, but the weights file has differ"):
            load_into(built(SHARED[name]), tmp_path / "w.safetensors")


class TestPrefixes:
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_one_that_all_names_have_is_taken_off(self, tmp_path, prefix):
        source, target = built(own_networks.small), built(own_networks.small, seed=1)
        save_file({prefix + key: value for key, value in source.state_dict().items()}, tmp_path / "w.safetensors")
        assert load_into(target, tmp_path / "w.safetensors") == [
            f"the prefix {prefix!r} of all names in the weights file was taken off"
        ]
        same(target, source)

    def test_wrappers_of_torch_are_known_by_their_own_files(self, tmp_path):
        source = built(own_networks.small)
        for wrapped in (nn.DataParallel(source), torch.compile(source), nn.ModuleDict({"model": source})):
            save_file({key: value.clone() for key, value in wrapped.state_dict().items()}, tmp_path / "w.safetensors")
            target = built(own_networks.small, seed=1)
            assert len(load_into(target, tmp_path / "w.safetensors")) == 1
            same(target, source)

    def test_the_report_says_so(self, through):
        state = built(own_networks.small).state_dict()
        report = through.ready("parallel", "factory:small", save({f"module.{key}": state[key] for key in state}))
        assert report["warnings"] == ["the prefix 'module.' of all names in the weights file was taken off"]

    def test_with_a_shared_tensor_that_comes_once(self, tmp_path):
        source, target = built(own_networks.tied_heads), built(own_networks.tied_heads, seed=1)
        state = as_saved(source, tmp_path / "w.safetensors")
        save_file({f"model.{key}": value for key, value in state.items()}, tmp_path / "w.safetensors")
        assert len(load_into(target, tmp_path / "w.safetensors")) == 2
        same(target, source)

    def test_one_that_the_network_has_itself_stays(self, tmp_path):
        make = lambda: nn.ModuleDict({"model": own_networks.small()})  # noqa: E731
        source, target = built(make), built(make, seed=1)
        save_file(source.state_dict(), tmp_path / "w.safetensors")
        assert load_into(target, tmp_path / "w.safetensors") == []
        same(target["model"], source["model"])

    def test_one_that_only_some_names_have_is_a_mismatch(self, tmp_path):
        state = built(own_networks.small).state_dict()
        mixed = {key if key.startswith("fc") else f"module.{key}": value for key, value in state.items()}
        save_file(mixed, tmp_path / "w.safetensors")
        with pytest.raises(InvalidModel, match=r"4 missing \(conv1\.bias, .*\); 4 unexpected \(module\.conv1\.bias"):
            load_into(built(own_networks.small), tmp_path / "w.safetensors")

    def test_the_rest_must_fit(self, tmp_path):
        state = built(own_networks.small).state_dict()
        save_file({f"module.{key}": value for key, value in state.items()}, tmp_path / "w.safetensors")
        with pytest.raises(InvalidModel, match="not those of the architecture"):
            load_into(built(lambda: own_networks.small(5)), tmp_path / "w.safetensors")


@pytest.fixture(scope="module", params=["inception_v3", "googlenet"])
def switched_on(request, tmp_path_factory):
    """Name, network and file as torchvision has it where its own weights are named."""
    torch.manual_seed(0)
    options = {"init_weights": False, "num_classes": 4, "transform_input": True}
    module = torchvision.models.get_model(request.param, weights=None, **options).eval()
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
    return request.param, module, path


class TestOptionsThatAreNoTensors:
    """torchvision switches `transform_input` on where its weights are named: no file of weights says so."""

    @staticmethod
    def loaded(network, **options):
        name, _, path = network
        body = {"name": "m", "architecture": f"torchvision:{name}", "weights": {"part": "w"}}
        sizes = {"preprocessing": {"size": [96, 96]}, "options": {"num_classes": 4, **options}}
        return load_module(ModelSpec.model_validate(body | sizes), path, {}).module

    @pytest.mark.parametrize("options", [{}, {"aux_logits": True}])
    def test_a_file_alone_is_refused_and_asks_for_the_option(self, switched_on, options):
        with pytest.raises(InvalidModel, match=r"say so in the options, transform_input=true or transform_input=false"):
            self.loaded(switched_on, **options)

    def test_told_it_computes_what_was_saved(self, switched_on):
        inputs = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = switched_on[1](inputs)
            torch.testing.assert_close(self.loaded(switched_on, transform_input=True)(inputs), expected, rtol=0, atol=0)
            off = self.loaded(switched_on, transform_input=False)(inputs)
        assert not torch.equal(off, expected)
