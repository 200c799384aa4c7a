"""`attribution jobs`: what a person asks of jobs, over HTTP."""

import json
from pathlib import Path

import pytest

from attribution_contracts.problems import ErrorCode, problem
from storage.ledger import claims
from tests.cli.conftest import Run
from tests.service.house import IG, SELF_TEST, House, sent
from tests.service.submission.test_tasks import add_dataset


def submitted(house: House, **request) -> str:
    return house.submit(**(request or SELF_TEST)).json()["id"]


def ids(text: str) -> list[str]:
    return [job["id"] for job in json.loads(text)]


class TestListing:
    def test_what_is_listed_is_in_full(self, house: House, run: Run) -> None:
        name = "a-name-as-long-as-names-may-be-for-models-of-this-service-1.2.3"
        house.add_model(name)
        job = submitted(house, model=name, inputs=[sent()], explanation=IG, labels={"team": "[red]vision"})
        found = run("jobs", "list", terminal_width=40)
        assert found.exit_code == 0, found.output
        [row] = [line for line in found.output.splitlines() if job in line]
        assert all(text in row for text in (f"{name}@1", "queued", "integrated_gradients", "team:[red]vision"))

    def test_of_a_task_it_shows_which(self, house: House, run: Run) -> None:
        house.add_model()
        add_dataset(house, *"0123456789")
        job = submitted(house, model="digits", dataset="flowers", task={"task": "evaluate"})
        [row] = [line for line in run("jobs", "list").output.splitlines() if job in line]
        assert "decomposition" not in row
        assert row.split().count("evaluate") == 2  # kind and method

    def test_a_column_without_text_is_left_out(self, house: House, run: Run) -> None:
        submitted(house)
        head = run("jobs", "list").output.splitlines()[0]
        assert "status" in head
        assert not any(word in head for word in ("labels", "model", "done"))

    def test_filters(self, house: House, run: Run) -> None:
        house.add_model()
        one = submitted(house, model="digits", inputs=[sent()], explanation=IG, labels={"team": "vision"})
        other = submitted(house)
        house.http.post(f"/v1/jobs/{other}/cancel")
        checks = {job["id"] for job in house.http.get("/v1/jobs").json()["jobs"] if job["kind"] == "check"}
        for filters, found in (
            ((), {one, other}),
            (("--status", "cancelled"), {other}),
            (("--model", "digits"), {one}),
            (("--method", "integrated_gradients"), {one}),
            (("--label", "team:vision"), {one}),
            (("--label", "team:other"), set()),
            (("--limit", "1"), {other}),
        ):
            listed = set(ids(run("jobs", "list", "--json", *filters).stdout))
            assert listed - checks == found

    def test_a_limit_goes_over_pages(self, house: House, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cli.jobs._PAGE", 2)
        jobs = [submitted(house) for _ in range(6)]
        found = run("jobs", "list", "--limit", "5", "--json")
        assert ids(found.stdout) == jobs[:0:-1]
        assert found.stderr == "the newest 5; more with --limit N or --all\n"

    def test_a_list_that_is_cut_says_so(self, house: House, run: Run) -> None:
        jobs = [submitted(house) for _ in range(21)]
        assert run("jobs", "list").stderr == "the newest 20; more with --limit N or --all\n"
        for words in (("--all",), ("--limit", "21"), ("--limit", "100")):
            found = run("jobs", "list", "--json", *words)
            assert (ids(found.stdout), found.stderr) == (jobs[::-1], "")

    def test_nothing(self, run: Run) -> None:
        assert run("jobs", "list").output == "there are no jobs\n"
        assert run("jobs", "list", "--status", "failed").output == "there are no such jobs\n"


class TestShowing:
    def test_files_of_a_result(self, house: House, run: Run, tmp_path: Path) -> None:
        job = submitted(house)
        result = house.succeed(house.claim(), {"map.png": b"a map"})
        found = run("jobs", "show", job, "--out", str(tmp_path / "new"))
        assert found.exit_code == 0, found.output
        assert job in found.output
        assert "map.png" in found.output
        assert result.artifacts[0].sha256 in found.output
        assert (tmp_path / "new" / "map.png").read_bytes() == b"a map"
        told = json.loads(run("jobs", "show", job, "--json").output)
        assert (told["job"]["id"], told["result"]["artifacts"][0]["name"]) == (job, "map.png")

    def test_a_folder_of_another_job_is_taken_over_and_that_is_said(
        self, house: House, run: Run, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        jobs = [submitted(house) for _ in range(2)]
        for name in ("first.png", "second.png"):
            house.succeed(house.claim(), {name: name.encode()})
        first, second = (run("jobs", "show", job, "--out", str(out)) for job in jobs)
        assert "replaced" not in first.stderr
        assert f"files of {jobs[0]} in {out} are replaced" in second.stderr
        assert {path.name for path in out.iterdir()} == {"second.png", "result.json"}
        (out / "result.json").write_text("{}")
        third = run("jobs", "show", jobs[0], "--out", str(out))
        assert third.exit_code == 1
        assert "is no result of a job that this program can read" in " ".join(third.output.split())

    def test_why_it_failed(self, house: House, run: Run, tmp_path: Path) -> None:
        job = submitted(house)
        house.finish(house.claim(), claims.Failed(problem(ErrorCode.OUT_OF_MEMORY, "there is too little")))
        found = run("jobs", "show", job)
        assert "there is too little [out_of_memory]" in found.output
        assert json.loads(run("jobs", "show", job, "--json").output)["result"] is None
        refused = run("jobs", "show", job, "--out", str(tmp_path / "new"))
        assert refused.exit_code == 1
        assert "is failed: there are no files to write" in refused.output
        assert not (tmp_path / "new").exists()


class TestWatching:
    def test_until_the_end(self, house: House, run: Run) -> None:
        job = submitted(house)
        house.succeed(house.claim())
        found = run("jobs", "watch", job)
        assert found.exit_code == 0, found.output
        assert f"{job}: succeeded" in found.stderr
        [*_, last] = run("jobs", "watch", job, "--json").stdout.splitlines()
        assert json.loads(last)["status"] == "succeeded"

    def test_a_job_that_does_not_succeed(self, house: House, run: Run) -> None:
        job = submitted(house)
        house.http.post(f"/v1/jobs/{job}/cancel")
        assert run("jobs", "watch", job).exit_code == 1


class TestCancelling:
    def test_what_waits_and_what_runs(self, house: House, run: Run) -> None:
        running, waiting = submitted(house), submitted(house)
        assert house.claim().job_id == running
        found = run("jobs", "cancel", running, waiting)
        assert found.output.splitlines() == [f"{running} ends at its next step", f"{waiting} is cancelled"]
        again = run("jobs", "cancel", waiting, "--json")
        assert json.loads(again.output)["status"] == "cancelled"

    def test_all_that_wait(self, house: House, run: Run) -> None:
        running, *waiting = submitted(house), submitted(house), submitted(house)
        assert house.claim().job_id == running
        asked = run("jobs", "cancel", "--status", "queued")
        assert asked.exit_code == 2
        assert "cancel 2 jobs that are queued?" in asked.output
        found = run("jobs", "cancel", "--status", "queued", "--yes")
        assert sorted(found.stdout.splitlines()) == sorted(f"{job} is cancelled" for job in waiting)
        assert run("jobs", "cancel", "--status", "queued").stderr == "no job is queued\n"
        for words in ((), ("--status", "queued", running)):
            assert "say which" in run("jobs", "cancel", *words).output


class TestDeleting:
    def test_it_asks(self, house: House, run: Run) -> None:
        job = submitted(house)
        house.http.post(f"/v1/jobs/{job}/cancel")
        asked = run("jobs", "delete", job)
        assert asked.exit_code == 2
        assert f"delete {job}, with results and files? Nobody is here to answer: say --yes" in asked.output
        assert run("jobs", "delete", job, "--yes").output == f"{job} is deleted\n"
        assert house.http.get(f"/v1/jobs/{job}").status_code == 404

    def test_a_job_that_has_not_ended(self, house: House, run: Run) -> None:
        found = run("jobs", "delete", submitted(house), "--yes")
        assert isinstance(found.exception, Exception)
        assert "cancel" in str(found.exception)


class TestModels:
    @pytest.mark.parametrize("words", [["models", "delete", "digits"], ["datasets", "delete", "digits"]])
    def test_what_is_deleted_is_named_exactly(self, run: Run, words: list[str]) -> None:
        found = run(*words, *(["--yes"] if words[0] == "models" else []))
        assert found.exit_code == 2
        assert "expected NAME@VERSION" in found.output

    def test_deleting(self, house: House, run: Run) -> None:
        house.add_model()
        assert "say --yes" in run("models", "delete", "digits@1").output
        assert run("models", "delete", "digits@1", "--yes").output == "digits@1 is deleted\n"
        assert house.http.get("/v1/models/digits").status_code == 404

    def test_a_summary_comes_before_a_thousand_labels(self, house: House, run: Run) -> None:
        labels = [f"class {index}" for index in range(1000)]
        house.add_model(labels=labels, preprocessing={"color": "grey", "size": [28, 28], "mean": [0.5]})
        text = run("models", "show", "digits").output
        digest = house.http.get("/v1/models/digits").json()["sha256"]
        assert all(word in text for word in (digest, "mnist_cnn", "grey 28x28", "mean [0.5]", "integrated_gradients"))
        assert "class 9, and 990 more: see them with --labels" in text
        assert "class 10" not in text
        assert run("models", "show", "digits", "--labels").output.splitlines() == labels
        assert json.loads(run("models", "show", "digits", "--json").output)["version"]["labels"] == labels
