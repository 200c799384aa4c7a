"""Artefacts and models: bytes that are what they claim to be."""

import io
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

from attribution_client import Client, CorruptArtifact, ProblemError
from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from attribution_contracts.problems import ErrorCode, FieldError
from attribution_contracts.results import Result
from attribution_contracts.states import JobStatus, ModelState
from tests.attribution_client.tiny_service import refusal

SPEC = ModelSpec(
    name="digits",
    version="2",
    architecture="mnist_cnn",
    weights=Weights(part="parameters"),
    preprocessing=Preprocessing(color="grey", size=(28, 28)),
)


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def test_files_are_checked_against_their_digest(service, client):
    reference = service.add_file("a.png", b"right")
    assert client.artifact(reference) == b"right"
    service.files[reference.sha256] = b"wrong"
    with pytest.raises(CorruptArtifact, match=r"a\.png"):
        client.artifact(reference)


def test_a_map_is_an_array(service, client):
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(client.map(service.add_file("a.npy", npy(values))), values)


def test_a_map_never_executes_what_it_holds(service, client):
    trap = npy(np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"^a\.npy is damaged, or holds objects"):
        client.map(service.add_file("a.npy", trap))


@pytest.mark.parametrize(
    ("name", "content"), [("a-heatmap.png", b"\x89PNG\r\n\x1a\n"), ("a.npy", b""), ("a.npz", b"PK")]
)
def test_what_is_no_map_is_named_as_such(service, client, name, content):
    with pytest.raises(
        ValueError, match=f"^{name} is no raw map but image/png: `client.artifact` has its bytes"
    ) as told:
        client.map(service.add_file(name, content))
    assert "pickle" not in str(told.value)


def test_a_result_is_written_with_its_files(service, client, tmp_path):
    job_id = service.add_job(JobStatus.SUCCEEDED)
    result = service.add_result(job_id, {"a.png": b"one", "b.npy": b"two"})
    assert client.result(job_id) == result
    written = client.download(result, tmp_path / "new" / "folder")
    assert {path.name: path.read_bytes() for path in written} == {"a.png": b"one", "b.npy": b"two"}
    assert Result.model_validate_json((tmp_path / "new/folder/result.json").read_text()) == result


@pytest.mark.parametrize(
    "names",
    [
        ["layer-relu_2.npy", "layer-relu_2.npy", "layer-relu_2-2.npy"],
        ["relu.png", "ReLU.png", "RELU.PNG"],
        ["\u00e9.png", "e\u0301.png", "\u00c9.png"],
        ["x" * 196 + ".png", "x" * 196 + "y.png", "x" * 300 + ".png", "x" * 150 + "y" + "x" * 149 + ".png"],
        ["result.json", "Result.JSON"],
        ["stra\u00dfe.png", "strasse.png"],
    ],
)
def test_files_whose_names_are_alike_do_not_overwrite_each_other(service, client, tmp_path, names):
    result = service.add_result(service.add_job(JobStatus.SUCCEEDED), {})
    contents = [f"file {number}".encode() for number in range(len(names))]
    files = [service.add_file(name, content) for name, content in zip(names, contents, strict=True)]
    result = result.model_copy(update={"images": [result.images[0].model_copy(update={"artifacts": files})]})
    written = client.download(result, tmp_path / "new")
    assert [path.read_bytes() for path in written] == contents
    there = [path.name for path in (tmp_path / "new").iterdir()]
    assert len(there) == len(names) + 1
    assert len({unicodedata.normalize("NFC", name).casefold() for name in there}) == len(there)
    assert Result.model_validate_json((tmp_path / "new/result.json").read_text()) == result


def test_a_folder_holds_one_job(service, client, tmp_path):
    first, second = (service.add_job(JobStatus.SUCCEEDED) for _ in range(2))
    folder, told = tmp_path / "out", []
    page = service.add_file("page.html", b"page")
    earlier = service.add_result(first, {"cat.png": b"1", "dog.png": b"1"}).model_copy(update={"page": page})
    client.download(earlier, folder, replaced=told.append)
    for name in ("sheet.html", "notes.txt"):
        (folder / name).write_text("mine")
    client.download(earlier, folder, replaced=told.append)
    assert told == []
    assert (folder / "sheet.html").exists(), "the same job leaves its page where it is"
    client.download(service.add_result(second, {"cat.png": b"2"}), folder, replaced=told.append)
    assert told == [first]
    assert {path.name for path in folder.iterdir()} == {"cat.png", "result.json", "notes.txt"}
    assert (folder / "cat.png").read_bytes() == b"2"


def test_what_was_interrupted_does_not_look_whole_and_goes_next_time(service, client, tmp_path):
    jobs = [service.add_job(JobStatus.SUCCEEDED) for _ in range(3)]
    first, second, third = (
        service.add_result(job, {f"{number}-{job}.png": job.encode() for number in range(2)}) for job in jobs
    )
    client.download(first, tmp_path)
    lost = second.images[0].artifacts[1].sha256
    kept = service.files[lost]
    service.files[lost] = b"damaged"
    with pytest.raises(CorruptArtifact):
        client.download(second, tmp_path)
    assert not (tmp_path / "result.json").exists()
    client.download(third, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"0-{jobs[2]}.png", f"1-{jobs[2]}.png", "result.json"}
    service.files[lost] = kept
    assert len(client.download(second, tmp_path)) == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_only_plain_files_inside_the_folder_are_removed(service, client, tmp_path):
    folder, outside = tmp_path / "out", tmp_path / "outside.png"
    outside.write_bytes(b"mine")
    (folder / "sub").mkdir(parents=True)
    (folder / "link.png").symlink_to(outside)
    files = dict.fromkeys(["../outside.png", str(outside), "sub", "..", "link.png"], b"x")
    evil = service.add_result(service.add_job(JobStatus.SUCCEEDED), files)
    (folder / "result.json").write_text(evil.model_dump_json())
    client.download(service.add_result(service.add_job(JobStatus.SUCCEEDED), {}), folder)
    assert outside.read_bytes() == b"mine"
    assert {path.name for path in folder.iterdir()} == {"sub", "result.json"}


def test_a_result_of_another_kind_is_left_alone(service, client, tmp_path):
    (tmp_path / "result.json").write_text('{"accuracy": 0.9}')
    with pytest.raises(FileExistsError, match="is no result of a job"):
        client.download(service.add_result(service.add_job(JobStatus.SUCCEEDED), {"a.png": b"x"}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png", "a/b.png", "..", ""])
def test_file_names_stay_inside_the_folder(service, client, tmp_path, name):
    result = service.add_result(service.add_job(JobStatus.SUCCEEDED), {name: b"x"})
    with pytest.raises(CorruptArtifact, match="plain file name"):
        client.download(result, tmp_path / "folder")
    assert {path.name for path in tmp_path.rglob("*")} <= {"folder"}, "nothing was written"


def test_weights_are_sent_with_progress(service, client, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(bytes(200_000))
    told: list[tuple[int, int]] = []
    version = client.register_model(SPEC, weights=path, progress=lambda sent, size: told.append((sent, size)))
    assert version.state is ModelState.CHECKING
    assert service.bodies[-1]["parameters"] == bytes(200_000)
    assert ModelSpec.model_validate_json(service.bodies[-1]["request"]) == SPEC
    assert told[-1] == (200_000, 200_000)
    assert len(told) > 2
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)


def test_weights_may_be_bytes_or_stay_away(service, client):
    client.register_model(SPEC, weights=b"bytes")
    assert service.bodies[-1]["parameters"] == b"bytes"
    elsewhere = SPEC.model_copy(update={"weights": Weights(sha256="a" * 64)})
    client.register_model(elsewhere.model_dump(mode="json", exclude_none=True))
    assert set(service.bodies[-1]) == {"request"}
    assert ModelSpec.model_validate_json(service.bodies[-1]["request"]) == elsewhere


def test_weights_are_sent_whole_again_when_the_service_was_busy(service, client, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"w" * 100_000)
    service.answers.append(refusal(ErrorCode.LEDGER_UNAVAILABLE, 503, "locked", retry_after="0.01"))
    client.register_model(SPEC, weights=path)
    assert service.bodies[-1]["parameters"] == b"w" * 100_000


def test_a_model_is_waited_for(service, client):
    client.register_model(SPEC, weights=b"bytes")
    version = client.wait_for_model("digits@2", timeout=10)
    assert (version.state, version.classes) == (ModelState.READY, 10)
    assert client.models() == [client.model("digits")] == [version]
    assert client.model_report("digits").linear_head == "2"
    assert client.model_report("digits@7").linear_head == "7"
    for number in range(4):
        client.register_model(SPEC.model_copy(update={"version": f"3.{number}"}), weights=b"bytes")
    assert [one.version for one in client.models()] == ["2", "3.0", "3.1", "3.2", "3.3"], "all pages"


def test_a_model_that_nobody_checks_ends_the_wait(service, client):
    client.register_model(SPEC, weights=b"bytes")
    service.models["digits@2"] = service.models["digits@2"][:1]
    with pytest.raises(TimeoutError, match=r"digits@2 is still being checked after 0\.3 s"):
        client.wait_for_model("digits@2", timeout=0.3)


def test_a_refused_specification_is_a_problem(service, client):
    wrong = FieldError(pointer="/options", detail="weights is reserved")
    service.answers.append(refusal(ErrorCode.INVALID_REQUEST, 422, "not valid", wrong))
    with pytest.raises(ProblemError, match="/options: weights is reserved"):
        client.register_model(SPEC, weights=b"bytes")


def test_the_client_needs_no_numpy_no_torch_and_no_server():
    code = (
        "import sys; forbidden = ['numpy', 'torch', 'fastapi', 'sqlalchemy', 'celery', 'PIL'];"
        "sys.modules.update(dict.fromkeys(forbidden)); import attribution_client; attribution_client.Client().close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_default_address_is_the_one_that_serve_listens_on():
    with Client(patience=0) as client:
        assert str(client._session._http.base_url) == "http://127.0.0.1:8000"


def test_a_file_that_the_store_lacks_is_asked_for_once(service, client):
    reference = service.add_file("map.npy", b"a map")
    service.answers.append(refusal(ErrorCode.ARTIFACT_MISSING, 500, "the gateway's store lacks it"))
    with pytest.raises(ProblemError, match="lacks it"):
        client.artifact(reference)
    assert len(service.requests) == 1
