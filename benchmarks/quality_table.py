"""What figures of quality say of each method's maps, beside random maps: pictures with planted evidence.

The pictures and maps are those of `planted_table.py`; each figure is taken of the map of the predicted class and of
maps of noise on the same picture. Prints one JSON line for each network, method and figure: the mean over pictures, the
same of random maps, and in how many pictures the map is above the mean of the random ones; then how far the figures
agree on which method is best. ``--table FILE`` writes the page.
"""

import argparse
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from planted_table import BATCH, METHODS, SIGMA, networks
from torch.nn import functional

import attribution
from attribution import Network
from attribution.errors import AttributionError
from attribution.quality.deletions import noise_maps, patch_falls, patch_sums, rank_correlation, saco
from attribution.quality.imputation import noisy_linear_fill
from attribution.quality.localization import localization
from attribution.quality.occlusion import occlusion_curves
from cli.demo import planted

N_RANDOM = 5
N_STEPS = 16
GRID = (8, 8)
RANDOM = "a random map"
NOISE = 0.04
"""Of pixels that their neighbours fill, in units of the inputs: 0.01 of pixels between 0 and 1."""
MARK = "## What they say of pictures with planted evidence"


class Pictures(NamedTuple):
    """Some pictures, and what figures need of them."""

    network: Network
    inputs: torch.Tensor
    target: torch.Tensor
    evidence: torch.Tensor
    """Bool ``(n, H, W)``."""
    blurred: torch.Tensor
    falls: torch.Tensor
    """Of single patches, ``(n, rows, columns)``."""

    @classmethod
    def at(cls, network: Network, indices: range) -> "Pictures":
        """Those with some numbers."""
        inputs = planted.examples(indices).inputs
        target = network(inputs).argmax(1).detach()
        blurred = attribution.baselines.blur(inputs, SIGMA)
        evidence = torch.stack([torch.from_numpy(planted.sample(index).evidence) for index in indices]).bool()
        falls = patch_falls(network, inputs, target, grid=GRID, baseline=blurred).falls[:, 0]
        return cls(network, inputs, target, evidence, blurred, falls)

    def sums(self, maps: torch.Tensor) -> torch.Tensor:
        """What maps say of each patch."""
        return patch_sums(maps, self.inputs, GRID)


Figure = Callable[[Pictures, torch.Tensor], torch.Tensor]


def _curve(direction: str, *, by_neighbours: bool = False) -> Figure:
    def figure(seen: Pictures, maps: torch.Tensor) -> torch.Tensor:
        draws = [torch.Generator().manual_seed(row) for row in range(len(maps))]
        found = occlusion_curves(
            seen.network,
            seen.inputs,
            maps,
            seen.target,
            baseline=noisy_linear_fill(seen.inputs, noise=NOISE, generator=draws) if by_neighbours else seen.blurred,
            insert=direction == "insertion",
            n_steps=N_STEPS,
            positive_only=False,
        )
        return found.prediction_area if direction == "insertion" else 1 - found.prediction_area

    return figure


FIGURES: dict[str, Figure] = {
    "single deletions, rank correlation": lambda seen, maps: rank_correlation(seen.sums(maps), seen.falls),
    "single deletions, SaCo": lambda seen, maps: saco(seen.sums(maps), seen.falls),
    "deletion (1 less its area)": _curve("deletion"),
    "insertion (its area)": _curve("insertion"),
    "ROAD (1 less its area)": _curve("deletion", by_neighbours=True),
    "pointing game": lambda seen, maps: localization(maps, seen.inputs, seen.evidence).pointing,
    "mass inside": lambda seen, maps: localization(maps, seen.inputs, seen.evidence).mass_inside,
    "rank accuracy": lambda seen, maps: localization(maps, seen.inputs, seen.evidence).rank_accuracy,
}
"""By what is shown: ``(n,)`` of the maps of some pictures, higher is better."""


class Cell(NamedTuple):
    """One figure of one method's maps."""

    mean: float
    random: float
    """The mean of random maps."""
    above: float
    """The share of the pictures in which the map is above the mean of the random ones; ties count by half."""


def judged(network: Network, method: str, pictures: range) -> dict[str, Cell] | str:
    """Every figure of a method's maps of the predicted class; or why there are none."""
    own: dict[str, list[torch.Tensor]] = {name: [] for name in FIGURES}
    random: dict[str, list[torch.Tensor]] = {name: [] for name in FIGURES}
    for start in range(0, len(pictures), BATCH):
        seen = _pictures(network, pictures[start : start + BATCH])
        try:
            found = METHODS[method](network, seen.inputs, seen.target, seen.blurred).detach().double()
        except AttributionError as error:
            return str(error).split(";")[0]
        maps = functional.interpolate(found, seen.inputs.shape[2:], mode="bilinear", align_corners=False)
        noise = _of_noise(network, pictures[start : start + BATCH])
        for name, figure in FIGURES.items():
            own[name].append(figure(seen, maps.to(seen.inputs.dtype).sum(1, keepdim=True)))
            random[name].append(noise[name])
    return {name: _cell(torch.cat(own[name]), torch.cat(random[name])) for name in FIGURES}


@cache
def _pictures(network: Network, indices: range) -> Pictures:
    return Pictures.at(network, indices)


@cache
def _of_noise(network: Network, indices: range) -> dict[str, torch.Tensor]:
    """The mean of each figure over random maps of some pictures."""
    seen = _pictures(network, indices)
    draws = [torch.Generator().manual_seed(index) for index in indices]
    noise = [noise_maps(seen.inputs, draws) for _ in range(N_RANDOM)]
    return {name: torch.stack([figure(seen, one) for one in noise]).nanmean(0) for name, figure in FIGURES.items()}


def _cell(own: torch.Tensor, random: torch.Tensor) -> Cell:
    own, random = own.double(), random.double()
    counts = own.isfinite()
    above = ((own > random).double() + 0.5 * (own == random).double())[counts]
    return Cell(float(own[counts].mean()), float(random[counts].mean()), float(above.mean()))


def agreement(cells: dict[str, dict[str, Cell]]) -> list[list[float]]:
    """Rank correlation of the methods' means by each pair of figures."""
    columns = [torch.tensor([[found[name].mean for found in cells.values()]]) for name in FIGURES]
    return [[float(rank_correlation(one, other)) for other in columns] for one in columns]


def page(found: dict[str, dict[str, dict[str, Cell] | str]], pictures: range) -> str:
    """The tables, as a part of the documentation."""
    lines = [
        (
            f"Made by `benchmarks/quality_table.py` of {len(pictures)} held-out pictures with planted evidence. Each "
            f"cell: the mean of the figure, and in what share of the pictures it is above the mean of {N_RANDOM} "
            "random maps; higher is better everywhere."
        ),
    ]
    for network, methods in found.items():
        cells = {method: one for method, one in methods.items() if not isinstance(one, str)}
        first = next(iter(cells.values()))
        lines += [
            "",
            f"### {network}",
            "",
            f"| method | {' | '.join(FIGURES)} |",
            f"|---|{'---|' * len(FIGURES)}",
            f"| *maps of noise* | {' | '.join(f'*{first[name].random:.2f}*' for name in FIGURES)} |",
            *(
                f"| {method} | {' | '.join(f'{one[name].mean:.2f} ({one[name].above:.0%})' for name in FIGURES)} |"
                for method, one in cells.items()
                if method != RANDOM
            ),
            "",
            "How far the figures agree on which method is better, by rank correlation of the columns:",
            "",
            f"| | {' | '.join(FIGURES)} |",
            f"|---|{'---|' * len(FIGURES)}",
            *(
                f"| {name} | {' | '.join(f'{value:.2f}' for value in row)} |"
                for name, row in zip(FIGURES, agreement({k: v for k, v in cells.items() if k != RANDOM}), strict=True)
            ),
        ]
    return "\n".join(lines).replace("%)", " %)").replace("-0.", "\N{MINUS SIGN}0.") + "\n"


def main() -> None:
    """Reads the options and judges every method's maps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", type=Path, help="the page whose tables are written anew, below its last heading")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pictures = range(planted.HELD_OUT_FROM, planted.HELD_OUT_FROM + options.pictures)
    found: dict[str, dict[str, dict[str, Cell] | str]] = {}
    for name, network in networks().items():
        for method in METHODS:
            cells = judged(network, method, pictures)
            found.setdefault(name, {})[method] = cells
            line: dict[str, object] = {"benchmark": "quality_table", "network": name, "method": method}
            if isinstance(cells, str):
                print(json.dumps(line | {"skipped": cells}), flush=True)
                continue
            for figure, cell in cells.items():
                print(json.dumps(line | {"figure": figure, **cell._asdict()}), flush=True)
    if options.table is not None:
        before = options.table.read_text().partition(MARK)[0]
        options.table.write_text(f"{before}{MARK}\n\n{page(found, pictures)}")


if __name__ == "__main__":
    main()
