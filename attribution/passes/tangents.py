"""Products of the Jacobian with a direction in the space of the inputs."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import torch
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from attribution.errors import NetworkError
from attribution.memory import is_out_of_memory

Function = Callable[[torch.Tensor], torch.Tensor]


class Tangents(NamedTuple):
    """``values`` ``(n, classes)`` of a function and ``products`` ``(n, classes)``: Jacobian times direction."""

    values: torch.Tensor
    products: torch.Tensor


def tangents(function: Function, points: torch.Tensor, directions: torch.Tensor) -> Tangents:
    """Returns the values at the points and how they change along a direction a point, both ``(n, *features)``.

    Forward mode, or where an operation of the network has none, the derivative of a vector-Jacobian product with
    respect to its vector, which is the same number.

    Raises:
        NetworkError: The function itself fails.

    Cost:
        About two forward passes of n points; the other way one forward and two backward passes.

    >>> tangents(lambda x: x**2, torch.tensor([[3.0]]), torch.tensor([[1.0]]))
    Tangents(values=tensor([[9.]]), products=tensor([[6.]]))
    """  # noqa: DOC501 - memory that runs out and failures of the function go on as they are
    points, directions = points.detach(), directions.detach()
    with plain_attention():
        try:
            return _forward_mode(function, points, directions)
        except (RuntimeError, NetworkError) as error:
            if is_out_of_memory(error) or is_out_of_memory(error.__cause__ or error):
                raise
        return _twice_backward(function, points, directions)


def _forward_mode(function: Function, points: torch.Tensor, directions: torch.Tensor) -> Tangents:
    _load_forward_mode()
    with torch.no_grad(), forward_ad.dual_level():
        values, products = forward_ad.unpack_dual(  # type: ignore[no-untyped-call]  # torch's own
            function(_dual(points, directions))
        )
        return Tangents(values, torch.zeros_like(values) if products is None else products)


def _dual(points: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    dual: torch.Tensor = forward_ad.make_dual(points, directions)  # type: ignore[no-untyped-call]  # torch's own
    return dual


@cache
def _load_forward_mode() -> None:
    # The first dual tensor of a process makes torch compile decompositions, with a warning about its own way to do so.
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", FutureWarning)
        _dual(torch.zeros(1), torch.zeros(1))


def _twice_backward(function: Function, points: torch.Tensor, directions: torch.Tensor) -> Tangents:
    with torch.enable_grad():
        points = points.requires_grad_()
        values = function(points)
        vector = torch.zeros_like(values, requires_grad=True)
        (gradient,) = torch.autograd.grad(values, points, vector, create_graph=True)
        (products,) = torch.autograd.grad(gradient, vector, directions)
    return Tangents(values.detach(), products)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by its formula, whose fused kernels have neither forward mode nor second derivatives."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(value=fast)
