"""Weights files, good and bad; none of them ever runs code."""

import json
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from attribution.architectures import cifar_resnet, mnist_cnn
from workers.models.weights import load_into, require_matching
from workers.problems import InvalidModel


def small():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def on_meta():
    with torch.device("meta"):
        return small()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def write_raw(path, header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def test_weights_arrive_unchanged(path):
    source, target = small(), on_meta()
    save_file(source.state_dict(), path)
    load_into(target, path)
    for name, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], value, rtol=0, atol=0)
    inputs = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(target.eval()(inputs), source.eval()(inputs), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_become_float32(path, dtype):
    source, target = small(), on_meta()
    state = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in source.state_dict().items()
    }
    save_file(state, path)
    load_into(target, path)
    assert {parameter.dtype for parameter in target.parameters()} == {torch.float32}
    torch.testing.assert_close(target[3].weight, state["3.weight"].float(), rtol=0, atol=0)


def test_the_network_keeps_its_weights_when_the_file_is_overwritten(path):
    source, target = small(), on_meta()
    save_file(source.state_dict(), path)
    load_into(target, path)
    with path.open("r+b") as file:
        file.seek(-200, 2)
        file.write(bytes(200))
    torch.testing.assert_close(target[3].weight, source[3].weight, rtol=0, atol=0)


def test_counters_of_batch_normalisation_may_be_absent(path):
    state = {name: value for name, value in small().state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file(state, path)
    target = small()
    load_into(target, path)
    assert target[1].num_batches_tracked == 0


def test_every_mismatch_is_named_at_once(path):
    state = small().state_dict()
    del state["0.bias"], state["1.running_mean"]
    state |= {"4.weight": torch.zeros(1), "3.weight": torch.zeros(3, 9), "1.weight": torch.zeros(2, dtype=torch.int32)}
    save_file(state, path)
    with pytest.raises(InvalidModel) as caught:
        require_matching(path, on_meta())
    assert str(caught.value) == (
        "the weights are not those of the architecture: 2 missing (0.bias, 1.running_mean); 1 unexpected (4.weight); "
        "1 of another shape (3.weight [3, 9], expected [3, 8]); 1 of an unusable type (1.weight I32)"
    )


def test_another_architecture_is_refused_with_counts(path):
    save_file(mnist_cnn().state_dict(), path)
    with pytest.raises(
        InvalidModel, match=r"96 missing \(bn1.bias, .*, and 76 more\); 7 unexpected \(conv1.bias"
    ) as caught:
        require_matching(path, cifar_resnet(20))
    assert "conv1.weight [20, 1, 5, 5], expected [16, 3, 3, 3]" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(path, value):
    state = small().state_dict()
    state["3.weight"][1, 2] = value
    save_file(state, path)
    require_matching(path, on_meta())
    target = on_meta()
    with pytest.raises(InvalidModel, match=r"1 values in 3\.weight that are NaN or infinite"):
        load_into(target, path)
    assert all(parameter.is_meta for parameter in target.parameters())


def test_values_beyond_float32_are_refused(path):
    save_file(
        {name: value.double() for name, value in nn.Linear(2, 2).state_dict().items()}
        | {"bias": torch.tensor([1e300, 0.0], dtype=torch.float64)},
        path,
    )
    with pytest.raises(InvalidModel, match=r"1 values in bias"):
        load_into(nn.Linear(2, 2), path)


def test_digest_and_quota(path):
    save_file(small().state_dict(), path)
    with pytest.raises(InvalidModel, match=r"has the sha256 [0-9a-f]{64}, expected 0000"):
        load_into(on_meta(), path, sha256="0" * 64)
    with pytest.raises(InvalidModel, match="at most 100 are allowed"):
        require_matching(path, on_meta(), max_bytes=100)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


def traps(marker):
    """Files that run code in loaders that let them."""
    yield "pickle", lambda path: path.write_bytes(pickle.dumps(Trap(marker)))
    yield "old pickle", lambda path: path.write_bytes(pickle.dumps(Trap(marker), protocol=0))
    yield "checkpoint", lambda path: torch.save({"weight": Trap(marker)}, path)
    yield (
        "old checkpoint",
        lambda path: torch.save({"weight": Trap(marker)}, path, _use_new_zipfile_serialization=False),
    )


@pytest.mark.parametrize("index", range(4))
def test_code_in_a_file_never_runs(tmp_path, path, index):
    marker = tmp_path / "marker"
    kind, write = list(traps(marker))[index]
    write(path)
    with pytest.raises(InvalidModel, match=r"expected safetensors|not valid safetensors"):
        load_into(on_meta(), path)
    assert not marker.exists(), kind
    if index < 2:  # the trap itself works
        pickle.loads(path.read_bytes())
        assert marker.exists()


def test_a_zip_is_named(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.safetensors", "x")
    with pytest.raises(InvalidModel, match=r"is a zip archive, such as torch\.save writes"):
        require_matching(path, on_meta())


GOOD = {
    "weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "bias": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
}


def changed(**fields):
    return {**GOOD, "bias": {**GOOD["bias"], **fields}}


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (GOOD, 23),
        (GOOD, 25),
        (GOOD, 0),
        (changed(data_offsets=[16, 2**40]), 24),
        (changed(data_offsets=[8, 16]), 24),
        (changed(data_offsets=[24, 16]), 24),
        (changed(data_offsets=[-8, 0]), 24),
        (changed(data_offsets=[0, 8]), 24),
        (changed(shape=[3]), 24),
        (changed(shape=[2**62, 2**62]), 24),
        (changed(shape=[-2]), 24),
        (changed(dtype="F99"), 24),
        (changed(dtype=7), 24),
        ({"weight": 3}, 24),
        ([1, 2], 24),
        (b"{'weight': 1}", 24),
        (b'{"weight": ' * 100_000, 24),
        (b"\xff\xfe\x00", 24),
        (b"", 24),
    ],
)
def test_a_lying_header_is_refused(path, header, size):
    write_raw(path, header, bytes(size))
    with pytest.raises(InvalidModel, match=r"not valid safetensors|: expected safetensors"):
        require_matching(path, nn.Linear(2, 2))


def test_the_good_header_is_good(path):
    write_raw(path, GOOD, bytes(24))
    require_matching(path, nn.Linear(2, 2))


@pytest.mark.parametrize("content", [b"", b"abc", struct.pack("<Q", 2**63), struct.pack("<Q", 10**9) + b"{}"])
def test_what_is_no_safetensors_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"expected safetensors|not valid safetensors"):
        require_matching(path, on_meta())


def test_a_truncated_file_is_refused(path):
    save_file(small().state_dict(), path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidModel):
            require_matching(path, on_meta())


def test_an_unusable_type_is_named(path):
    save_file({"weight": torch.zeros(2, 2, dtype=torch.float8_e4m3fn), "bias": torch.zeros(2)}, path)
    with pytest.raises(InvalidModel, match=r"1 of an unusable type \(weight F8_E4M3\)"):
        require_matching(path, nn.Linear(2, 2))
