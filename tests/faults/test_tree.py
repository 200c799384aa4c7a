"""`attribution serve` is killed: nothing of it stays behind, and its successor finishes the jobs."""

import signal

from tests.e2e.served import served, still_alive

SETTINGS = {
    "ATTRIBUTION_ALLOW_FAULTS": "true",
    "ATTRIBUTION_LEASE_S": "2",
    "ATTRIBUTION_RECONCILE_S": "0.3",
    "ATTRIBUTION_REPUBLISH_GRACE_S": "1",
}


def test_a_killed_tree_leaves_no_process_and_no_job(tmp_path, size):
    with served(tmp_path / "data", **SETTINGS) as tree:
        running = tree.submit(action="hang", times=1)
        tree.wait_for(running, "running")
        queued = [tree.submit() for _ in range(size(10, 300))]
        family = tree.family()
        assert len(family) >= 5, family  # root, broker, gateway, worker and the worker's child
        tree.process.send_signal(signal.SIGKILL)
        assert still_alive(family) == []
    with served(tmp_path / "data", **SETTINGS) as tree:
        jobs = [tree.wait_for(job_id, "succeeded", "failed") for job_id in (running, *queued)]
    assert [(job["status"], job["attempt"]) for job in jobs] == [("succeeded", 2), *[("succeeded", 1)] * len(queued)]
