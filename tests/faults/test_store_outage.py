"""The artefact store goes away with jobs in the queue: they wait, and no attempt is spent."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attribution_client import Client
from tests.e2e.served import PATIENCE_S, Served, served
from tests.faults.models import noise, png, register_net

moto_server = pytest.importorskip("moto.server", reason="moto is not installed")
boto3 = pytest.importorskip("boto3", reason="moto is not installed")
pytest.importorskip("s3fs", reason="the extra `s3` is not installed")


class Store:
    """A bucket whose server can go away and come back with all that it held."""

    def __init__(self) -> None:
        self._port = 0
        self.come()
        boto3.resource("s3", endpoint_url=self.url, region_name="us-east-1").create_bucket(Bucket="outage")

    def come(self) -> None:
        self._server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def go(self) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = Store()
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    yield store
    store.go()


def test_an_outage_of_the_store_costs_time_and_no_job(
    tmp_path: Path, store: Store, size: Callable[[int, int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "ATTRIBUTION_ARTIFACT_URL": "s3://outage/here",
        "ATTRIBUTION_MAX_ATTEMPTS": "1",
        "ATTRIBUTION_RETRY_S": "0.2",
        "ATTRIBUTION_RECONCILE_S": "0.2",
        "ATTRIBUTION_ALLOW_FAULTS": "true",
    }
    with served(tmp_path / "data", **settings) as tree, Client(tree.url) as client:
        register_net(client)
        keeps_the_worker = tree.submit(action="sleep", seconds=2.0)
        waiting = [
            client.submit(model="net", explanation={"method": "integrated_gradients"}, images=[png(image)]).id
            for image in noise(size(5, 25))
        ]
        store.go()
        tree.wait_for(keeps_the_worker, "succeeded")
        until(tree, lambda: all(tree.job(job_id)["attempt"] for job_id in waiting), "each job was tried")
        until(tree, lambda: any(tree.job(job_id)["attempt"] > 1 for job_id in waiting), "one was tried again")
        tried = [tree.job(job_id) for job_id in waiting]
        assert {job["status"] for job in tried} <= {"queued", "running"}
        store.come()
        ended = [tree.wait_for(job_id, "succeeded", "failed") for job_id in waiting]
    assert {job["status"] for job in ended} == {"succeeded"}
    with capsys.disabled():
        attempts = sum(job["attempt"] for job in ended)
        print("\n" + json.dumps({"test": "store outage", "jobs": len(ended), "starts": attempts, "failed": 0}))


def until(tree: Served, is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: {tree.log.read_text()[-2000:]}"
        time.sleep(0.05)
