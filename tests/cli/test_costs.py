"""What a job will cost, in words."""

import pytest

from attribution_contracts.jobs import Cost
from cli.costs import said


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.031, "0.031 s"), (1.44, "1.4 s"), (150.0, "2 min"), (9000.0, "2 h"), (None, "network")]
)
def test_the_unit_fits_the_time(seconds: float | None, words: str) -> None:
    found = said(Cost(passes=25, passes_at_most=25, seconds=seconds, seconds_at_most=seconds))
    assert found.removesuffix(" at the speed of the model's check").endswith(words)


def test_what_it_may_take_is_said_where_that_is_more() -> None:
    cost = Cost(passes=69, passes_at_most=1517, seconds=1.4, seconds_at_most=10.5)
    usual, most = said(cost).split("; ")
    assert usual == "about 69 passes through the network, 1.4 s at the speed of the model's check"
    assert most == "at most 1,517, 10 s"
