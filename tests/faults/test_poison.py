"""Jobs that take their worker down with them end as failed and block nobody."""

import itertools

import pytest

from tests.faults.house import House, open_house

POISON = {
    "exit": "attempts_exhausted",
    "segfault": "attempts_exhausted",
    "out_of_memory": "out_of_memory",
    "fail": "self_test_failure",
}


def test_poison_between_good_jobs_fails_alone(house: House, size):
    good, poison = [], {}
    for action in itertools.islice(itertools.cycle(POISON), size(len(POISON), 10 * len(POISON))):
        good += [house.submit() for _ in range(5)]
        poison[house.submit(action, max_attempts=2)] = POISON[action]
    good += [house.submit() for _ in range(5)]
    assert {row["status"] for row in house.finish(good)} == {"succeeded"}
    for row in house.finish(poison):
        assert (row["status"], row["attempt"], row["body"]) == ("failed", 2, None)
        assert row["error"]["code"] == poison[row["id"]]
        assert len(row["error"]["detail"]) > 10


@pytest.mark.parametrize("action", ["exit", "segfault", "out_of_memory", "fail"])
def test_an_attempt_that_is_spared_succeeds(house: House, action: str):
    row = house.finish([house.submit(action, times=1)])[0]
    assert (row["status"], row["attempt"], row["result_attempt"]) == ("succeeded", 2, 2)


def test_a_job_that_hangs_is_killed_at_its_time_limit(tmp_path):
    with open_house(tmp_path, job_time_limit_s=1.0, lease_s=1.5) as house:
        house.start(workers=1, reconcilers=1)
        house.finish([house.submit()])
        deaf, slow = house.submit("hang", max_attempts=1), house.submit("sleep", seconds=60, max_attempts=1)
        good = house.submit()
        assert house.finish([good])[0]["status"] == "succeeded"
        assert [row["error"]["code"] for row in house.finish([deaf, slow])] == ["attempts_exhausted", "time_limit"]
