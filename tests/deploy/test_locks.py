import re
import tomllib

import pytest

from tests.deploy.files import ROOT, by_name, locked

LOCKS = ("all.txt", "gateway.txt", "worker.txt", "uv.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
DIRECT = {
    "all.txt": [
        *PROJECT["project"]["dependencies"],
        *(requirement for extra in EXTRAS.values() for requirement in extra),
        *PROJECT["dependency-groups"]["dev"],
    ],
    "gateway.txt": [*PROJECT["project"]["dependencies"], *EXTRAS["embedded"], *EXTRAS["postgres"], *EXTRAS["s3"]],
    "uv.txt": [
        next(requirement for requirement in PROJECT["dependency-groups"]["dev"] if requirement.startswith("uv="))
    ],
}
DIRECT["worker.txt"] = [*DIRECT["gateway.txt"], *EXTRAS["worker"]]


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_pinned_package_with_hashes(name):
    packages = locked(name)
    assert packages
    assert all(package.hashes for package in packages)
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"://|^\s*--?(index|extra-index|find-links|trusted)", text, re.MULTILINE)


@pytest.mark.parametrize("name", LOCKS)
def test_every_direct_dependency_is_pinned(name):
    from packaging.requirements import Requirement

    pinned = by_name(locked(name))
    for requirement in map(Requirement, DIRECT[name]):
        versions = pinned.get(requirement.name.lower().replace("_", "-"), set())
        assert versions, f"requirements/{name} lacks {requirement.name}: run `make lock`"
        outside = [version for version in versions if not requirement.specifier.contains(version, prereleases=True)]
        assert not outside, f"requirements/{name} pins {requirement.name} {outside}, wanted {requirement.specifier}"


@pytest.mark.parametrize("name", ["gateway.txt", "worker.txt", "uv.txt"])
def test_images_hold_the_versions_that_were_tested(name):
    tested = by_name(locked("all.txt"))
    for package, versions in by_name(locked(name)).items():
        assert versions <= tested.get(package, set()), f"{package} differs from requirements/all.txt: run `make lock`"


def test_the_gateway_has_no_torch_and_the_worker_no_development_tools():
    assert not {"torch", "torchvision", "numpy"} & by_name(locked("gateway.txt")).keys()
    assert not {"pytest", "mypy", "ruff", "captum", "moto"} & by_name(locked("worker.txt")).keys()
