"""Going up the gradient of a number of each picture, step by step."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from attribution.errors import NetworkError
from attribution.visualisation.pictures import Picture

#: Views of pictures ``(n, channels, height, width)``, each of their shape; the first is told.
Views = Callable[[torch.Tensor, Sequence[torch.Generator]], list[torch.Tensor]]
#: The number of each picture, ``(n,)``, to be raised; differentiable. ``rows`` say which picture each is of.
Value = Callable[[torch.Tensor, list[int]], torch.Tensor]


class Ascended(NamedTuple):
    """Pictures that were raised.

    Attributes:
        pixels: ``(n, channels, height, width)``, between 0 and 1.
        curve: ``(n, n_steps)``, the number of the first view before each step.
        redrawn: int64 ``(n,)``, how often a picture without any gradient was drawn anew.
    """

    pixels: torch.Tensor
    curve: torch.Tensor
    redrawn: torch.Tensor


def ascended(
    picture: Picture,
    value: Value,
    views: Views,
    generators: Sequence[torch.Generator],
    n_steps: int,
    on_step: Callable[[], None],
) -> Ascended:
    """Takes steps up the mean of each picture's views, from random starts.

    A picture whose gradient is nothing at all, as where the unit is silent, is drawn anew in place of a step.

    Args:
        picture: What is free, and how it becomes pixels.
        value: What is raised.
        views: What of the pictures is shown at each step.
        generators: One a picture.
        n_steps: How many steps.
        on_step: Called after each step; may raise to cancel.

    Returns:
        The pictures after the last step, and how they rose.

    Raises:
        NetworkError: A value or gradient is not finite.
    """  # noqa: DOC502 - each step raises it
    free, curve = picture.drawn(generators), []
    redrawn = torch.zeros(len(free), dtype=torch.int64)
    for _ in range(n_steps):
        values, gradient = _looked_at(picture, free, value, views, generators)
        curve.append(values)
        is_silent = (gradient == 0).flatten(1).all(1)
        free = picture.stepped(free, gradient, is_silent)
        for row in is_silent.nonzero()[:, 0].tolist():
            redrawn[row] += 1
            free[row] = picture.drawn([generators[row]], int(redrawn[row]))[0]
        on_step()
    with torch.no_grad():
        return Ascended(picture.pixels(free), torch.stack(curve, 1), redrawn)


def _looked_at(
    picture: Picture, free: torch.Tensor, value: Value, views: Views, generators: Sequence[torch.Generator]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the number of each picture's first view, and the gradient of the mean over its views.

    Raises:
        NetworkError: One is not finite.
    """
    with torch.enable_grad():
        given = free.detach().requires_grad_()
        shown = views(picture.pixels(given), generators)
        values = value(torch.cat(shown), list(range(len(free))) * len(shown))
        if not values.requires_grad:
            return values.detach()[: len(free)], torch.zeros_like(free)
        gradient: torch.Tensor = torch.autograd.grad(values.sum() / len(shown), given)[0]
    if not bool(values.isfinite().all()) or not bool(gradient.isfinite().all()):
        raise NetworkError(
            "the unit's values or their gradients are not finite on the way up: check weights, mean and std"
        )
    return values.detach()[: len(free)], gradient
