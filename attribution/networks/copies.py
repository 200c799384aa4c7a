"""A frozen copy of a module over the same weights, which leaves the module as it was."""

import copy
from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from attribution.errors import NetworkError

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class FrozenCopy(NamedTuple):
    """A copy in evaluation mode and the number of hooks that were left behind."""

    module: nn.Module
    n_hooks: int


def frozen_copy(module: nn.Module) -> FrozenCopy:
    """Returns a copy: parameters share storage and ask for no gradient, buffers are copied, hooks stay behind.

    Hooks that compute a weight (``weight_norm``, ``spectral_norm``) belong to the function and are kept.

    Raises:
        NetworkError: The module has parameters without a shape yet, or cannot be copied.
    """
    module = unwrapped(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise NetworkError(
            f"{type(module).__name__} is TorchScript, which cannot be frozen over the same weights; give the nn.Module"
            " it was made from, or one from torch.export"
        )
    memo: dict[int, Any] = {}
    n_hooks = 0
    for part in module.modules():
        memo |= _detached_tensors(part)
        for name in _HOOKS:
            hooks = getattr(part, name, None)
            if hooks:
                kept = OrderedDict((key, hook) for key, hook in hooks.items() if _computes_weight(hook))
                # The *_with_kwargs tables hold flags of hooks that are counted already.
                n_hooks += sum(callable(hook) for hook in hooks.values()) - len(kept)
                memo[id(hooks)] = copy.deepcopy(kept, memo)
    try:
        duplicate = copy.deepcopy(module, memo)
    except (TypeError, RuntimeError, AttributeError) as error:
        raise NetworkError(
            f"{type(module).__name__} cannot be copied ({error}); remove what copy.deepcopy refuses"
        ) from error
    _evaluate(duplicate)
    return FrozenCopy(duplicate.requires_grad_(False), n_hooks)


def unwrapped(module: nn.Module) -> nn.Module:
    """Returns the module inside ``DataParallel``, ``DistributedDataParallel`` or ``torch.compile``."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(inner := vars(module).get("_modules", {}).get("_orig_mod"), nn.Module):
            module = inner
        else:
            return module


def _detached_tensors(part: nn.Module) -> dict[int, Any]:
    """Returns what each differentiable tensor of one module becomes in the copy, by identity.

    Raises:
        NetworkError: A parameter has no shape yet.
    """
    memo: dict[int, Any] = {}
    for name, parameter in part.named_parameters(recurse=False):
        if is_lazy(parameter):
            raise NetworkError(
                f"parameter {name} of {type(part).__name__} has no shape yet; run the module once, then wrap it"
            )
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    for value in vars(part).values():
        # weight_norm keeps the computed weight as a plain attribute, which deepcopy refuses.
        if isinstance(value, torch.Tensor) and value.requires_grad:
            memo.setdefault(id(value), value.detach())
    return memo


def _computes_weight(hook: object) -> bool:
    return isinstance(hook, WeightNorm | SpectralNorm)


def _evaluate(module: nn.Module) -> None:
    try:
        module.eval()
    except NotImplementedError:
        # Modules that come out of torch.export refuse eval(): their mode is part of the program.
        for part in module.modules():
            part.training = False
