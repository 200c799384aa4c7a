"""How far a job's maps move as its images move a little."""

import torch
from torch import Tensor

from attribution.quality.deletions import noise_maps
from attribution.quality.occlusion import input_x_gradient_maps
from attribution.quality.sensitivity import Sensitivity, map_sensitivity
from attribution_contracts.figures.sensitivity import MapSensitivity, SensitivityScore
from attribution_contracts.quality import SensitivityOptions
from workers.methods.calls import Call, MethodOutput
from workers.quality.again import maps_again, part_of
from workers.quality.judged import Reference, Standard, against_of, defined, of_target, reference_of


def sensitivity_of(
    call: Call, outputs: list[MethodOutput], predicted: Tensor, options: SensitivityOptions
) -> list[list[MapSensitivity]]:
    """The figures of each image and class.

    Args:
        call: The images, and the network that was explained.
        outputs: The maps to judge, all of a kind that the method makes.
        predicted: The class that maps of no class are counted for, `int64 (batch,)`.
        options: How the images move.
    """
    table = call.target if call.target.shape[1] else predicted[:, None]
    references = list[tuple[Reference, int]]()
    if options.references:
        kinds: list[Standard] = ["random"]
        if call.network.no_gradients is None:
            kinds.insert(0, "input_x_gradient")
        references = [(Reference(kind), place) for place in range(table.shape[1]) for kind in kinds]
    draws = [row.generator("maps drawn anew") for row in call.rows]
    done = 0

    def explain(inputs: Tensor) -> list[Tensor]:
        nonlocal done
        again = maps_again(call, outputs, part_of(call.progress, done, options.n_samples), inputs=inputs)
        done += 1
        return [*again, *(beside(one, inputs, place) for one, place in references)]

    def beside(reference: Reference, inputs: Tensor, place: int) -> Tensor:
        if reference.judged == "random":
            return noise_maps(inputs, draws)
        return input_x_gradient_maps(call.network, inputs, table[:, place], against_of(call, table[:, place]))

    known = [*(one.values for one in outputs), *(beside(one, call.inputs, place) for one, place in references)]
    std = call.rows[0].preprocessing.std
    found = map_sensitivity(
        explain,
        call.inputs,
        maps=known,
        radius=torch.tensor([options.radius / one for one in std]),
        generator=[row.generator("noisy copies") for row in call.rows],
        n_samples=options.n_samples,
    )
    own, others = found[: len(outputs)], found[len(outputs) :]
    told: list[list[MapSensitivity]] = [[] for _ in call.rows]
    for place, target in enumerate(table.unbind(1)):
        judged = [
            *(
                (reference_of(output), one)
                for output, one in zip(outputs, own, strict=True)
                if of_target(output, target)
            ),
            *((one, figure) for (one, of), figure in zip(references, others, strict=True) if of == place),
        ]
        for row, mine in enumerate(told):
            mine.append(
                MapSensitivity(
                    target=int(target[row]),
                    radius=options.radius,
                    n_samples=options.n_samples,
                    passes=options.n_samples,
                    scores=[_score(reference, figure, row) for reference, figure in judged],
                )
            )
    return told


def _score(reference: Reference, figure: Sensitivity, row: int) -> SensitivityScore:
    return SensitivityScore(**reference._asdict(), maximum=defined(figure.maximum[row]), mean=defined(figure.mean[row]))
