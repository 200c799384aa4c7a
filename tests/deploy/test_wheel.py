"""What an image installs is the wheel: everything that a package needs must be in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.deploy.files import ROOT

PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/py.typed"))


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel, built from a copy of the tree as it would be committed."""
    folder = tmp_path_factory.mktemp("wheel")
    for relative in ["pyproject.toml", "README.md", "LICENSE", *tracked()]:
        copy = folder / "source" / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / relative).read_bytes())
    build = [sys.executable, "-m", "uv", "build", "--quiet", "--offline", "--no-build-isolation", "--wheel"]
    subprocess.run([*build, "--out-dir", str(folder), str(folder / "source")], check=True)
    [wheel] = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [path for path in listed if Path(ROOT, path).is_file()]


def test_it_has_every_file_of_every_package(contents: set[str]) -> None:
    assert len(PACKAGES) == 7
    assert not set(tracked()) - contents


def test_it_has_nothing_else(contents: set[str]) -> None:
    assert {name for name in contents if ".dist-info/" not in name} == set(tracked())


def test_it_brings_its_licence(contents: set[str]) -> None:
    assert [name for name in contents if name.endswith(".dist-info/licenses/LICENSE")]
