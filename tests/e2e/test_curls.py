"""Every line of curl on the page of routes does what the page says, as a newcomer would copy it."""

import json
import os
import shutil
import subprocess
import zipfile

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from attribution.architectures import mnist_cnn
from service.description.curls import ADDRESS, CURLS, FIRST, VARIABLES
from tests.e2e.served import served as serving
from tests.workers.sources import flowers, zipped

PATIENCE_S = 120
ENDS = (
    ("delete", "/v1/jobs/{job_id}"),
    ("delete", "/v1/datasets/{name}/versions/{version}"),
    ("delete", "/v1/models/{name}/versions/{version}"),
)


@pytest.fixture
def served(tmp_path_factory):
    """A service of its own: the lines register and delete what other tests have as well."""
    with serving(tmp_path_factory.mktemp("curls") / "data") as service:
        yield service


@pytest.fixture
def newcomer(tmp_path):
    """A folder with the files that the lines speak of; curl fails there where the service refuses."""
    torch.manual_seed(0)
    save_file(mnist_cnn().state_dict(), tmp_path / "weights.safetensors")
    Image.linear_gradient("L").resize((28, 28)).save(tmp_path / "image.png")
    (tmp_path / "flowers.zip").write_bytes(zipped(flowers()))
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return tmp_path


@pytest.mark.parametrize("tool", ["curl", "jq"])
def test_what_the_lines_use_is_here(tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed: the lines cannot be tried")


def test_every_line_works(served, client, newcomer):
    if not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("the lines use curl and jq")
    variables: dict[str, str] = {}

    def run(lines: str) -> str:
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines.replace(ADDRESS, served.url)],
            cwd=newcomer,
            env={**os.environ, "HOME": str(newcomer), "CURL_HOME": str(newcomer), **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert ran.returncode == 0, f"{lines}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    answers: dict[tuple[str, str], str] = {}
    for route in [route for route in CURLS if route not in ENDS] + list(ENDS):
        if route[1].startswith("/v1/pieces/"):
            variables["SHA256"] = json.loads(answers["post", "/v1/pieces"])["sha256"]
        answers[route] = run(CURLS[route])
        if route == ("post", "/v1/models"):
            client.wait_for_model("digits@1", timeout=PATIENCE_S)
            run(FIRST.replace("wait=30", "wait=0"))  # it waits by itself for a job that takes longer
            with Image.open(newcomer / "heatmap.png") as heatmap:
                assert heatmap.format == "PNG"
        if route == ("post", "/v1/datasets"):
            client.wait_for_dataset("flowers@1", timeout=PATIENCE_S)
        if route == ("post", "/v1/jobs"):
            variables["JOB"] = json.loads(answers[route])["id"]
            client.wait(variables["JOB"], timeout=PATIENCE_S)
            variables["SHA256"] = client.result(variables["JOB"]).images[0].artifacts[-1].sha256
    assert variables.keys() == VARIABLES.keys()
    assert json.loads(answers["get", "/v1/jobs/{job_id}"])["status"] == "succeeded"
    assert "200 OK" in answers["head", "/v1/pieces/{sha256}"]
    assert "result.json" in zipfile.ZipFile(newcomer / "explanation.zip").namelist()
    assert '"status":"succeeded"' in answers["get", "/v1/jobs/{job_id}/events"]
