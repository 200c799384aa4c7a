"""What benchmarks measure by, and how they say it."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


def reporter(benchmark: str) -> Callable[..., None]:
    """Prints one line for each claim of a benchmark."""
    return partial(_report, benchmark)


def _report(
    benchmark: str, claim: str, measured: float, target: float, unit: str, *, at_least: bool = True, **more: Any
) -> None:
    met = measured >= target if at_least else measured <= target
    line = {"benchmark": benchmark, "claim": claim, "measured": round(measured, 4), "target": target}
    print(json.dumps({**line, "unit": unit, "met": met, **more}), flush=True)


def seconds(work: Callable[[], object]) -> float:
    """The time that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak(*, reset: bool = False) -> int:
    """The most memory the process has held at once, by Linux's count."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
