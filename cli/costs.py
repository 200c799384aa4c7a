"""What a job will cost, in words."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from attribution_contracts.jobs import Cost, Job


def tell_cost(job: "Job") -> None:
    """Says what a job will cost that has still to run, beside what a command is asked for."""
    if job.cost is not None and not job.cached:
        click.echo(said(job.cost), err=True)


def said(cost: "Cost") -> str:
    """The passes and seconds that a job takes, and what it may take where that is not the same.

    >>> from attribution_contracts.jobs import Cost
    >>> said(Cost(passes=69, passes_at_most=517, seconds=1.4, seconds_at_most=10.5))
    "about 69 passes through the network, 1.4 s at the speed of the model's check; at most 517, 10 s"
    >>> said(Cost(passes=25, passes_at_most=25, seconds=None, seconds_at_most=None))
    'about 25 passes through the network'
    >>> said(Cost(passes=1298, passes_at_most=1298, seconds=119.6, seconds_at_most=119.6))
    'about 1,298 passes through the network, 120 s'
    """
    speed = "" if cost.seconds is None else " at the speed of the model's check"
    usual = f"about {cost.passes:,} passes through the network{_seconds(cost.seconds)}{speed}"
    if cost.passes_at_most == cost.passes:
        return usual
    return f"{usual}; at most {cost.passes_at_most:,}{_seconds(cost.seconds_at_most)}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f", {seconds:.0f} s" if seconds >= 10 else f", {seconds:.2g} s" if seconds >= 0.001 else ", under 1 ms"
    return f", {seconds / 60:.0f} min" if seconds < 7200 else f", {seconds / 3600:.0f} h"
