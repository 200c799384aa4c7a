"""A service whose disk is full to the last byte starts, shows what it has, and says what is wrong."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.served import served
from tests.service.house import refused

SIZE = 64 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount to make a small file system with")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Takes the last byte of a file system."""
    file = folder / "of somebody else"
    with file.open("wb", buffering=0) as taken:
        try:
            while taken.write(b"x" * 4096):
                pass
        except OSError:
            return file


def left_by_a_tree(disk: Path) -> str:
    """A job that succeeded there, and whose tree has ended."""
    with served(disk) as tree:
        job_id = tree.submit()
        tree.wait_for(job_id, "succeeded")
        tree.process.terminate()
        tree.process.wait()
    return job_id


def test_it_starts_reads_and_says_so(disk: Path) -> None:
    job_id = left_by_a_tree(disk)
    taken = fill(disk)
    for _ in range(2):  # and again, when there is no ballast any more
        with served(disk) as tree:
            ready = tree.http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
            assert "the disk is full" in ready.json()["store"]["detail"]
            assert "the disk is full" in ready.json()["ledger"]["detail"]
            assert tree.job(job_id)["status"] == "succeeded"
            assert tree.http.get(f"/v1/jobs/{job_id}/result").status_code == 200
            answer = tree.http.post("/v1/jobs", json={"explanation": {"method": "self_test"}})
            refused(answer, 503, "store_unavailable")
            assert "the operator must make room" in answer.json()["detail"]
            tree.process.terminate()
            tree.process.wait()
    log = disk.with_name("disk.log").read_text()
    assert log.count("artefact store: the disk is full") == 2, "once a gateway"
    with served(disk) as tree:
        taken.unlink()
        assert tree.http.get("/readyz").status_code == 200
        tree.wait_for(tree.submit(), "succeeded")


def test_what_is_there_can_be_deleted(disk: Path) -> None:
    job_id = left_by_a_tree(disk)
    fill(disk)
    with served(disk) as tree:
        assert tree.http.delete(f"/v1/jobs/{job_id}").status_code == 204
