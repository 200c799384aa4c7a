"""The commands of README.md, run in their order as a newcomer would against a service on a free port."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import resnet50

from attribution.architectures import mnist_cnn
from tests.house.tree import ROOT

README = (ROOT / "README.md").read_text()
DOCUMENTED = "127.0.0.1:8000"
NOT_HERE = ("make", "docker", "git", "cd", "#")
BINARIES = Path(sys.executable).parent
START_S = 60
ONE_BLOCK_S = 240


class Block(NamedTuple):
    """A block of code and its language."""

    language: str
    text: str


def blocks() -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]


def scripts() -> list[Block]:
    """What can be run: the lines of shell blocks that are ours, Python, and `attribution explain` in the prose."""
    runnable = []
    for block in blocks():
        if block.language in {"bash", "console"}:
            lines = [line for line in block.text.splitlines() if line.strip() and not line.startswith(NOT_HERE)]
            runnable += [Block("bash", "\n".join(lines))] if lines else []
        elif block.language == "python":
            runnable.append(block)
    return runnable + [Block("bash", line) for line in re.findall(r"`(attribution explain [^`]+)`", README)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README speaks of."""
    folder = tmp_path_factory.mktemp("newcomer")
    documents = [json.loads(block.text) for block in blocks() if block.language == "json"]
    for document in documents:
        name = "model.json" if "architecture" in document else "explain.json"
        (folder / name).write_text(json.dumps(document))
    torch.manual_seed(0)
    save_file(mnist_cnn().state_dict(), folder / "weights.safetensors")
    save_file(resnet50(num_classes=200).state_dict(), folder / "birds.safetensors")
    (folder / "birds.txt").write_text("".join(f"bird {number}\n" for number in range(200)))
    Image.linear_gradient("L").resize((28, 28)).save(folder / "image.png")
    for number in range(2):
        (kept := folder / "birds" / f"bird {number}").mkdir(parents=True)
        Image.linear_gradient("L").rotate(90 * number).save(kept / "one.png")
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `attribution serve`."""
    port, data = free_port(), tmp_path_factory.mktemp("data")
    environment = {**os.environ, "ATTRIBUTION_DATA_DIR": str(data)}
    log = (data / "serve.log").open("wb")
    command = [str(BINARIES / "attribution"), "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + START_S
    try:
        while not answers(port):
            is_starting = process.poll() is None and time.monotonic() < deadline
            assert is_starting, (data / "serve.log").read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(START_S)
        log.close()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).is_success
    except httpx.TransportError:
        return False


def test_the_readme_shows_what_there_is_to_run() -> None:
    assert sum("curl" in line for block in scripts() for line in block.text.splitlines()) == 5
    assert any("attribution models add" in block.text for block in scripts())
    assert any(block.language == "python" for block in scripts())


def test_its_commands_run_in_their_order(folder: Path, service: str) -> None:
    for tool in ("curl", "jq"):
        if shutil.which(tool) is None:
            pytest.skip(f"the README's commands use {tool}, which is not installed")
    environment = {
        **os.environ,
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        "ATTRIBUTION_URL": f"http://{service}",
    }
    for block in scripts():
        # The lines wait by themselves for a job that takes longer than its submission may wait.
        text = block.text.replace(DOCUMENTED, service).replace("wait=30", "wait=0")
        shell = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
        ran = subprocess.run(
            [*shell, text], cwd=folder, env=environment, capture_output=True, text=True, timeout=ONE_BLOCK_S
        )
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"

    with Image.open(folder / "heatmap.png") as heatmap:
        heatmap.load()
        assert heatmap.format == "PNG"
    result = json.loads((folder / "result.json").read_text())
    assert (result["counts"]["images"], result["counts"]["succeeded"]) == (1, 1)
    assert json.loads((folder / "model-version.json").read_text())["state"] == "ready"
    assert len(list((folder / "explanation").rglob("*.npy"))) >= 1
