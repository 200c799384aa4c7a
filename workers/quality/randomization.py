"""What becomes of a job's maps as the network's weights are drawn anew."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attribution import Network
from attribution.quality.deletions import noise_maps
from attribution.quality.occlusion import input_x_gradient_maps
from attribution.quality.randomization import entropy_rise, map_correlation
from attribution.quality.redrawn import redrawn, weighted_layers
from attribution_contracts.figures.randomization import MapRandomization, RandomizationScore
from attribution_contracts.quality import RandomizationOptions
from workers.methods.baselines import generator_of
from workers.methods.calls import Call, MethodOutput
from workers.quality.again import maps_again, part_of
from workers.quality.judged import Reference, against_of, defined, of_target, reference_of


class _Followed(NamedTuple):
    """Maps of a class of each image, of the network and of random ones."""

    of: Reference
    maps: Tensor
    random: list[Tensor]
    """Of the networks whose weights are all random."""
    cascade: list[Tensor]
    """Of those on the way there."""


def randomization_of(
    call: Call, outputs: list[MethodOutput], predicted: Tensor, options: RandomizationOptions
) -> list[list[MapRandomization]]:
    """The figures of each image and class.

    Args:
        call: The images, and the network that was explained.
        outputs: The maps to judge, all of a kind that the method makes.
        predicted: The class that is explained of the random network where maps are of no class, `int64 (batch,)`.
        options: How weights are drawn.

    Raises:
        NetworkError: The network's weights cannot be drawn anew.
    """
    table = call.target if call.target.shape[1] else predicted[:, None]
    shares = [step / options.cascade for step in range(1, options.cascade + 1)]
    times = options.explanations
    again, beside = list[list[Tensor]](), list[list[Tensor]]()
    for done, network in enumerate(_networks(call, options, shares[:-1])):
        again.append(maps_again(call, outputs, part_of(call.progress, done, times), network=network))
        beside.append([_input_x_gradient(call, network, target) for target in table.unbind(1)])
    draws = options.n_draws
    told: list[list[MapRandomization]] = [[] for _ in call.rows]
    for place, target in enumerate(table.unbind(1)):
        followed = [
            _Followed(reference_of(output), output.values, random[:draws], random[draws:])
            for number, output in enumerate(outputs)
            if of_target(output, target)
            for random in [[one[number] for one in again]]
        ]
        if options.references and call.network.no_gradients is None:
            random = [one[place] for one in beside]
            own = _input_x_gradient(call, call.network, target)
            followed.append(_Followed(Reference("input_x_gradient"), own, random[:draws], random[draws:]))
        scores = [_scores(one, options) for one in followed]
        if options.references:
            scores.append(_of_noise(call, options))
        for row, mine in enumerate(told):
            mine.append(
                MapRandomization(
                    target=int(target[row]),
                    n_draws=draws,
                    shares=shares,
                    passes=times,
                    scores=[of_images[row] for of_images in scores],
                )
            )
    return told


def _networks(call: Call, options: RandomizationOptions, shares: list[float]) -> Iterator[Network]:
    """Those whose weights are all random, then those on the way to the first of them; one at a time."""
    layers = weighted_layers(call.network, call.inputs)
    for draw in range(options.n_draws):
        yield redrawn(call.network, layers, _generator(call, draw)).network
    for share in shares:
        yield redrawn(call.network, layers[: max(1, round(share * len(layers)))], _generator(call, 0)).network


def _generator(call: Call, draw: int) -> torch.Generator:
    return generator_of(call.rows[0].seed, "", f"random weights {draw}")


def _input_x_gradient(call: Call, network: Network, target: Tensor) -> Tensor:
    if network.no_gradients is not None:
        return torch.zeros_like(call.inputs)
    return input_x_gradient_maps(network, call.inputs, target, against_of(call, target))


def _scores(followed: _Followed, options: RandomizationOptions) -> list[RandomizationScore]:
    """The figures of each image."""
    rises = torch.stack([entropy_rise(followed.maps, one, bins=options.bins) for one in followed.random])
    kept = torch.stack([map_correlation(followed.maps, one) for one in followed.random])
    steps = [map_correlation(followed.maps, one) for one in followed.cascade]
    cascade = [*steps, kept[0]] if options.cascade else []
    return [
        RandomizationScore(
            **followed.of._asdict(),
            entropy_rise=defined(rises[:, row].mean()),
            entropy_rise_spread=defined(rises[:, row].std()) if len(rises) > 1 else None,
            correlation=defined(kept[:, row].mean()),
            cascade=[defined(one[row]) for one in cascade],
        )
        for row in range(len(followed.maps))
    ]


def _of_noise(call: Call, options: RandomizationOptions) -> list[RandomizationScore]:
    """The figures of maps that do not look at the network."""
    draws = [row.generator("maps drawn anew") for row in call.rows]
    first, second = noise_maps(call.inputs, draws), noise_maps(call.inputs, draws)
    rises = entropy_rise(first, second, bins=options.bins)
    return [RandomizationScore(judged="random", entropy_rise=defined(rise)) for rise in rises]
