"""What methods make of networks, as tables in markdown."""

import re
from collections.abc import Sequence
from typing import Any

_CELL = "seconds of both images / passes of one that these are worth / completeness error / share in the quadrant"


def tables(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as two tables: of the networks, and of the methods on them."""
    networks = {line["model"]: line for line in lines if "check_seconds" in line}
    found = {(line["method"], line["model"]): line for line in lines if "method" in line}
    notes: dict[str, int] = {}
    head = ["network", "parameters", "check", "memory", "default", "what a map of it costs by the report"]
    rows = [[name, *_of_network(line)] for name, line in networks.items()]
    methods = list(dict.fromkeys(method for method, _ in found))
    cells = [[method, *(_cell(found.get((method, name)), notes) for name in networks)] for method in methods]
    return "\n".join(
        [
            *_table(head, rows),
            "",
            f"In a cell: {_CELL}.",
            "",
            *_table(["method", *networks], cells),
            "",
            *(f"* [{number}] {reason}" for reason, number in notes.items()),
            "",
        ]
    )


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def _of_network(line: dict[str, Any]) -> list[str]:
    default = line["default"]
    cost = "" if default is None else f"{default['passes']} passes, {default['seconds']:.0f} s"
    return [
        f"{line['parameters'] / 1e6:.1f} M",
        f"{line['check_seconds']:.0f} s",
        f"{line['peak_mib'] / 1024:.1f} GiB",
        "" if default is None else str(default["method"]),
        cost,
    ]


def _cell(line: dict[str, Any] | None, notes: dict[str, int]) -> str:
    if line is None:
        return ""
    if reason := line.get("reason") or line.get("failed"):
        # Layers have other names in each network.
        plain = re.sub(r"'[\w.:]+'", "…", reason)
        return f"[{notes.setdefault(plain, len(notes) + 1)}]"
    gap, share = line["relative_gap"], line["in_quadrant"]
    figures = [
        f"{line['explain_seconds']:.1f}",
        str(line.get("worth_passes", "")),
        "" if gap is None else f"{gap:.0e}",
        "" if share is None else f"{share:.2f}",
    ]
    marks = [f"[{notes.setdefault(f'warned of: {code}', len(notes) + 1)}]" for code in line["warnings"]]
    return " / ".join(figures) + "".join(f" {mark}" for mark in marks)
