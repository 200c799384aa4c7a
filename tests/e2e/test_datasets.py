"""Data sets by the command line, from a folder to the report of a real worker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attribution_contracts.datasets import DatasetIndex
from attribution_contracts.results import Result
from tests.workers.sources import flowers, folder, npz, pixels, tarred


@pytest.fixture
def attribution(served):
    def run(*words: str, code: int = 0) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            env={**os.environ, "ATTRIBUTION_URL": served.url},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    return run


def test_a_folder_becomes_a_data_set(attribution, client, tmp_path):
    root = folder({**flowers(), "1/notes.txt": b"no image"}, tmp_path / "flowers")
    (root / "2").mkdir(exist_ok=True)
    (root / "2" / "link.png").symlink_to(root / "0" / "0.png")
    (root / "linked").symlink_to(root / "0")
    said = attribution("datasets", "add", "flowers", str(root), "--labels", "0,1,2")
    assert "flowers@1 is ready" in said
    assert "6 images of 3 classes (0: 3, 1: 3, 2: 0)" in said
    assert "refused 1/notes.txt: the 8 bytes are not an image" in said
    for name in ("2/link.png", "linked"):
        assert f"refused {name}: it is a link or device" in said
    assert "flowers@1 is ready" in attribution("datasets", "add", "flowers", str(root), "--labels", "0,1,2")
    shown = json.loads(attribution("datasets", "show", "flowers"))
    assert (shown["state"], shown["report"]["refused"]) == ("ready", 3)
    assert "flowers@1" in attribution("datasets", "list")
    index = DatasetIndex.model_validate_json(client._session.get(f"/v1/artifacts/{shown['sha256']}").content)
    assert index.names == list(flowers())
    result = client.result(shown["check_job"])
    assert isinstance(result, Result)
    assert (result.counts.images, result.counts.succeeded, result.counts.failed) == (9, 6, 3)
    assert "flowers@1 is deleted" in attribution("datasets", "delete", "flowers@1")
    assert "there is no data set flowers@1" in attribution("datasets", "delete", "flowers@1", code=1)


def test_archives_of_every_kind_are_one_data_set(attribution, client, tmp_path):
    import numpy as np

    (tmp_path / "a.npz").write_bytes(npz(np.stack([pixels(n) for n in range(6)]), np.array([0, 0, 0, 1, 1, 1])))
    (tmp_path / "a.tar.xz").write_bytes(tarred(flowers(), "w:xz"))
    for version, name in enumerate(("a.npz", "a.tar.xz"), 1):
        attribution("datasets", "add", "kinds", str(tmp_path / name), "--version", str(version))
    digests = {client.dataset(f"kinds@{version}").sha256 for version in (1, 2)}
    assert len(digests) == 1


def test_a_location_that_the_operator_allows(attribution, client, tmp_path_factory):
    root = folder(flowers(), tmp_path_factory.getbasetemp() / "datasets" / "flowers")
    assert "6 images" in attribution("datasets", "add", "located", f"file://{root}")


def test_what_is_wrong_is_told_in_a_line(attribution, tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK no zip")
    said = attribution("datasets", "add", "broken", str(tmp_path / "broken.zip"), code=1)
    assert "broken@1 was refused: the archive is no zip, tar" in said
    (tmp_path / "empty.zip").touch()
    assert "empty.zip is empty" in attribution("datasets", "add", "x", str(tmp_path / "empty.zip"), code=2)
    said = attribution("datasets", "add", "x", str(tmp_path), "--labels", "none.txt", code=2)
    assert "there is no file 'none.txt'; classes are separated by commas" in said
    assert "no file or folder" in attribution("datasets", "add", "x", str(tmp_path / "none"), code=2)
    assert "may not be read: allowed are file://" in attribution("datasets", "add", "x", "file:///etc", code=1)
    assert "expected NAME@VERSION" in attribution("datasets", "delete", "x", code=2)
