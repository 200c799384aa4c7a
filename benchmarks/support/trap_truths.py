"""What each method's map of a plain twin is, by the twin's own autograd and the formula; nothing is the engine's."""

from collections.abc import Callable
from typing import Any

import torch
from support.own_gradients import gauss_legendre, gradients
from torch import nn

NODES = 64
"""Of quadratures, here and in every library."""
Truth = Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def gradient(twin: nn.Module, images: torch.Tensor, _baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of each image's class."""
    return torch.cat([gradients(twin, one, [int(of)]) for one, of in zip(images, target, strict=True)])


def times_input(twin: nn.Module, images: torch.Tensor, baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Image times gradient: also LRP with a vanishing epsilon, where activations are rectifiers and pools choose."""
    return images * gradient(twin, images, baseline, target)


def integrated(twin: nn.Module, images: torch.Tensor, baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Gauss-Legendre along the straight path."""
    rows = zip(images, target, strict=True)
    return torch.stack([gauss_legendre(twin, one, baseline[0], int(of), NODES) for one, of in rows])


def grad_cam(twin: nn.Module, images: torch.Tensor, _baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean gradients times the maps of the second convolution, signed: ``(batch, 1, height, width)``."""
    value, slope = _at_layer(twin, images, target)
    return (slope.mean((2, 3), keepdim=True) * value).sum(1, keepdim=True)


def guided(twin: nn.Module, images: torch.Tensor, baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Gradients whose negative part stops at rectifiers, as does what did not pass forward (Springenberg 2015)."""
    return _with_rectifiers(lambda slope, before: slope.clamp(min=0) * (before > 0), twin, images, baseline, target)


def deconvolved(twin: nn.Module, images: torch.Tensor, baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Gradients whose negative part stops at rectifiers, whatever passed forward (Zeiler and Fergus 2014)."""
    return _with_rectifiers(lambda slope, _: slope.clamp(min=0), twin, images, baseline, target)


def rescaled(twin: nn.Module, images: torch.Tensor, baseline: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """DeepLIFT's rescale rule: slopes of rectifiers are changes over changes.

    The paper has no rule for a pool of maxima: behind one only the sum is known ``(batch,)``, the change of the output.
    """
    if any(isinstance(part, nn.MaxPool2d) for part in twin.modules()):
        with torch.no_grad():
            return (twin(images) - twin(baseline))[torch.arange(len(images)), target]
    rows = zip(images, target, strict=True)
    return torch.stack([_rescaled(twin, one, baseline[0], int(of)) for one, of in rows])


TRUTHS: dict[str, Truth] = {
    "saliency": gradient,
    "input_x_gradient": times_input,
    "integrated_gradients": integrated,
    "guided_backprop": guided,
    "deconvolution": deconvolved,
    "deeplift": rescaled,
    "lrp": times_input,
    "cam": grad_cam,
}
"""By id of the method."""


def second_convolution(module: nn.Module) -> nn.Module:
    """The layer that class activation maps are of."""
    return next(part for name, part in module.named_modules() if name.split(".")[-1] == "conv2")


def _at_layer(twin: nn.Module, images: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    kept = list[torch.Tensor]()
    hook = second_convolution(twin).register_forward_hook(lambda _part, _given, output: kept.append(output))
    try:
        output = twin(images)
    finally:
        hook.remove()
    [slope] = torch.autograd.grad(output[torch.arange(len(images)), target].sum(), kept[0])
    return kept[0].detach(), slope


def _with_rectifiers(
    rule: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], twin: nn.Module, *of: torch.Tensor
) -> torch.Tensor:
    """The gradient where each rectifier's slope is by the rule."""

    class Rectified(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, before: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(before)
            return before.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return rule(slope, *ctx.saved_tensors)

    rectifiers = [part for part in twin.modules() if isinstance(part, nn.ReLU)]
    try:
        for part in rectifiers:
            part.forward = Rectified.apply  # type: ignore[method-assign]
        return gradient(twin, *of)
    finally:
        for part in rectifiers:
            del part.forward


def _rescaled(twin: nn.Module, image: torch.Tensor, baseline: torch.Tensor, target: int) -> torch.Tensor:
    """Of one image: the values of every rectifier at both ends make its slope."""

    def replaced(_part: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        before = given[0]
        slope = (output[1] - output[0]) / (before[1] - before[0])
        # The value stays, the slope is the ratio.
        return output.detach() + slope.detach() * (before - before.detach())

    hooks = [part.register_forward_hook(replaced) for part in twin.modules() if isinstance(part, nn.ReLU)]
    try:
        both = torch.stack([baseline, image]).requires_grad_()
        [found] = torch.autograd.grad(twin(both)[1, target], both)
    finally:
        for hook in hooks:
            hook.remove()
    return found[1] * (image - baseline)
