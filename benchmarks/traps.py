"""Methods on networks as people write them: ours, Captum and the closest other peer against a plain twin.

A trap and its twin compute the same function of the same parameters, the twin by separate modules and with nothing in
place. What is true is worked out on the twin, by its own autograd from the formula of the paper; every library is given
the trap. A map is right within 1e-4 of the truth's largest value, in float64, else it is said by how much it is wrong.
Prints one JSON line for each method, network and library; ``--table FILE`` writes the page. Exit status 1 where ours is
wrong. Peers that are not installed are left out, and named; Captum is a development dependency, the others
(``zennit``, ``grad-cam``, ``shap``) are not.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from support.trap_libraries import METHODS, installed
from support.trap_networks import SHAPE, TRAPS, pair
from support.trap_truths import TRUTHS

from attribution.errors import AttributionError

RIGHT = 1e-4
"""Zennit's merged batch norm moves the fifth digit; our own tests ask for nine."""


class Verdict(NamedTuple):
    """What came of one library on one network."""

    method: str
    network: str
    library: str
    verdict: str
    """``right``, ``wrong``, ``refused`` or ``fails``."""
    figure: float | None = None
    """Largest difference over the truth's largest value."""
    said: str = ""


def examined(method: str, network: str, library: str, explain: Callable[..., torch.Tensor]) -> Verdict:
    """The verdict on a map of two images."""
    trap, twin = pair(network)
    drawn = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images, baseline, target = drawn[:2], 0.3 * drawn[2:], torch.tensor([0, 2])
    truth = TRUTHS[method](twin, images, baseline, target)
    given = images.clone()
    try:
        found = explain(trap, given, baseline.clone(), target).detach()
    except AttributionError as error:
        return Verdict(method, network, library, "refused", said=_first_line(error))
    except Exception as error:  # noqa: BLE001 - what a peer raises is the finding
        return Verdict(method, network, library, "fails", said=f"{type(error).__name__}: {_first_line(error)}")
    if not torch.equal(given, images):
        return Verdict(method, network, library, "wrong", said="the caller's images are overwritten")
    found = found.flatten(1).sum(1) if truth.ndim == 1 else found
    figure = float((found - truth).abs().max() / truth.abs().max())
    return Verdict(method, network, library, "right" if figure <= RIGHT else "wrong", figure)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:160]


def page(verdicts: list[Verdict]) -> str:
    """The verdicts in markdown, a table a method."""
    lines = ["# Traps", "", _CAPTION.format(versions=", ".join(f"{name} {of}" for name, of in installed().items())), ""]
    lines += [f"* *{name}*: {trap.what}" for name, trap in TRAPS.items()]
    notes = dict[str, int]()
    for method in METHODS:
        libraries = list(dict.fromkeys(one.library for one in verdicts if one.method == method))
        lines += ["", f"## {method}", "", f"| network | {' | '.join(libraries)} |", f"|{'---|' * (len(libraries) + 1)}"]
        for network in TRAPS:
            cells = [_cell(one, notes) for one in verdicts if (one.method, one.network) == (method, network)]
            lines.append(f"| {network} | {' | '.join(cells)} |")
    lines += ["", "## What they said", "", *(f"* [{number}] {said}" for said, number in notes.items()), ""]
    return "\n".join(lines)


_CAPTION = (
    "Networks as people write them, and what attribution libraries make of them; written by `benchmarks/traps.py` with "
    "{versions}. Each network has a twin that computes the same function of separate modules; what is true is worked "
    "out on the twin, from the formula of the paper by its own autograd, in float64. *right*: within 1e-4 of the "
    "truth's largest value; of DeepLIFT behind a pool of maxima, for which the paper has no rule, its sum alone. "
    "*wrong by*: the largest difference over that value. *error*: it says so itself, as listed below. Peers are called "
    "as their documentation shows, at the settings that make the same map."
)


def _cell(verdict: Verdict, notes: dict[str, int]) -> str:
    if verdict.verdict == "right":
        return "right"
    if verdict.figure is not None:
        return f"**wrong by {verdict.figure:.1%}**"
    number = notes.setdefault(verdict.said, len(notes) + 1)
    return f"**wrong** [{number}]" if verdict.verdict == "wrong" else f"error [{number}]"


def main() -> None:
    """Reads the options, examines everything, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="where to write the page")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    verdicts = list[Verdict]()
    for method, libraries in METHODS.items():
        for network in TRAPS:
            for library, explain in libraries.items():
                if library == "ours" or library in installed():
                    verdicts.append(examined(method, network, library, explain))
                    print(json.dumps(verdicts[-1]._asdict()), flush=True)
    if options.table is not None:
        options.table.write_text(page(verdicts))
    sys.exit(any(one.library == "ours" and one.verdict in {"wrong", "fails"} for one in verdicts))


if __name__ == "__main__":
    main()
