import json
import re
import shlex

import pytest

from cli.main import command
from tests.deploy.files import ROOT, dockerfile, lineage

TARGETS = ("gateway", "worker")


def first(target: str, instruction: str) -> str:
    return next(argument for stage in lineage(target) for argument in stage.all(instruction))


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_fixed_user_that_is_not_root(target):
    created = [run for stage in lineage(target) for run in stage.all("RUN") if "useradd" in run]
    assert first(target, "USER") == "10001:10001"
    assert "--uid 10001 --gid 10001" in created[0]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_starts_a_command_that_exists_without_a_shell(target):
    assert json.loads(first(target, "ENTRYPOINT")) == ["attribution"]
    assert json.loads(first(target, "CMD"))[0] in command.commands


@pytest.mark.parametrize("target", TARGETS)
def test_the_health_check_is_a_command_that_exists(target):
    check = json.loads(first(target, "HEALTHCHECK").partition("CMD")[2])
    assert check[0] == "attribution"
    assert check[1] in command.commands
    assert check[2] == target


def test_the_worker_is_what_a_build_without_a_target_makes():
    assert list(dockerfile())[-1] == "worker"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_what_its_lock_file_says_and_nothing_to_build_with(target):
    [stage] = [stage for stage in dockerfile().values() if stage.name == f"{target}-environment"]
    installs = [run for run in stage.all("RUN") if "uv pip install" in run]
    dependencies, distribution = installs
    assert f"--no-build --require-hashes -r requirements/{target}.txt" in dependencies
    assert "--no-deps wheels/*.whl" in distribution
    final = lineage(target)
    assert [copied for stage in final for copied in stage.all("COPY")] == [
        f"--from={target}-environment /opt/attribution /opt/attribution"
    ]
    assert not [run for stage in final for run in stage.all("RUN") if re.search(r"apt-get|pip|uv ", run)]


def test_every_installation_is_locked_by_hashes():
    runs = [
        run for stage in dockerfile().values() for run in stage.all("RUN") if re.search(r"\b(install|build)\b", run)
    ]
    installs = [run for run in runs if "pip install" in run or "uv build" in run]
    assert len(installs) == 6
    for run in installs:
        assert "--require-hashes" in run or "--no-deps" in run, run


def test_what_is_copied_and_read_exists_and_reaches_the_build():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*", "the build sees what it is given and nothing else"
    for stage in dockerfile().values():
        for copied in stage.all("COPY"):
            if copied.startswith("--from="):
                assert copied.split()[0].removeprefix("--from=") in dockerfile()
                continue
            for source in copied.split()[:-1]:
                assert (ROOT / source).exists(), source
                admitted = source if "/" not in source else f"{source.split('/')[0]}/*.txt"
                assert f"!{admitted}" in ignored, f".dockerignore keeps {source} from the build"
        for run in stage.all("RUN"):
            for word in shlex.split(run):
                assert not word.startswith("requirements/") or (ROOT / word).is_file(), word


def test_every_package_is_copied_into_the_build():
    packages = {path.parent.name for path in ROOT.glob("*/py.typed")}
    assert packages <= {copied.split()[0] for copied in dockerfile()["distribution"].all("COPY")}


def test_base_images_are_pinned():
    [image] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile.gpu").read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", image)
    bases = {stage.base for stage in dockerfile().values()} - set(dockerfile())
    assert bases == {"${PYTHON_IMAGE}"}
