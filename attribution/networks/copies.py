"""A frozen copy of a module over the same weights, which leaves the module as it was."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from attribution.errors import NetworkError
from attribution.networks.hooks import forward_hooks, settle

#: Hooks that only a backward pass calls: they may change gradients, but not the function whose gradients we want.
_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")


class FrozenCopy(NamedTuple):
    """A copy in evaluation mode, and what became of what computes its weights and of its hooks.

    Attributes:
        module: The copy.
        baked: Paths of weights that a parametrisation or a hook computed; they are plain weights now.
        kept: Hooks that change values and belong to the function.
        dropped: Hooks that change nothing and were left behind.
    """

    module: nn.Module
    baked: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]


def frozen_copy(module: nn.Module, probes: Sequence[torch.Tensor] = ()) -> FrozenCopy:
    """Returns a copy: parameters share storage and ask for no gradient, buffers are copied.

    What a parametrisation computes becomes a plain weight. So does what a forward hook computes, once there are probes
    to run it on; before that all forward hooks are kept.

    Raises:
        NetworkError: The module has parameters without a shape yet, is TorchScript, or cannot be copied.
    """  # noqa: DOC502 - the checks that it calls raise
    module = unwrapped(module)
    _require_no_script(module)
    memo: dict[int, Any] = {}
    for part in module.modules():
        memo |= _detached_tensors(part)
        for name in _BACKWARD_HOOKS:
            memo[id(getattr(part, name, None))] = OrderedDict()
    memo.pop(id(None), None)
    duplicate = _duplicate(module, memo)
    evaluate(duplicate)
    duplicate.requires_grad_(False)
    baked = tuple(_bake_parametrisations(duplicate))
    if not probes or not (hooks := forward_hooks(duplicate)):
        kept = tuple(hook.description for hook in hooks) if probes else ()
        return FrozenCopy(duplicate, baked, kept, ())
    settled = settle(duplicate, probes)
    return FrozenCopy(duplicate, (*baked, *settled.baked), settled.kept, settled.dropped)


def shared_copy(module: nn.Module) -> nn.Module:
    """Returns another copy of a frozen copy, whose flags and in-place operations may be changed."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        memo |= _detached_tensors(part)
    return _duplicate(module, memo).requires_grad_(False)


def unwrapped(module: nn.Module) -> nn.Module:
    """Returns the module inside ``DataParallel``, ``DistributedDataParallel`` or ``torch.compile``."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(vars(module).get("_modules"), dict) and isinstance(
            inner := vars(module)["_modules"].get("_orig_mod"), nn.Module
        ):
            module = inner
        else:
            return module


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Lends a caller's module in evaluation mode and without gradients, and leaves it and its randomness as it was.

    Yields:
        The module itself, rid of what wraps it.
    """
    module = unwrapped(module)
    parts = list(module.modules())
    flags = [part.training for part in parts]
    attributes = [{name: value for name, value in vars(part).items() if _is_tensor(value)} for part in parts]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    devices = {tensor.device for tensor in module.parameters() if tensor.device.type == "cuda"}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            evaluate(module)
            yield module
    finally:
        for part, flag, own in zip(parts, flags, attributes, strict=True):
            part.training = flag
            for name in [name for name, value in vars(part).items() if _is_tensor(value) and name not in own]:
                delattr(part, name)
            vars(part).update(own)
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def evaluate(module: nn.Module) -> None:
    """Puts a module into evaluation mode."""
    try:
        module.eval()
    except NotImplementedError:
        # Modules that come out of torch.export refuse eval(): their mode is part of the program.
        for part in module.modules():
            part.training = False


def _require_no_script(module: nn.Module) -> None:
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            where = f"submodule {path} ({type(part).__name__})" if path else type(part).__name__
            raise NetworkError(
                f"{where} is TorchScript, which cannot be frozen over the same weights; give the nn.Module it was made"
                " from, or one from torch.export"
            )


def _duplicate(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    # Hooks may hold what cannot be copied, such as a file: those stay the caller's.
    by_reference = memo | {id(hook.function): hook.function for hook in forward_hooks(module)}
    error: Exception | None = None
    for known in (dict(memo), by_reference):
        try:
            return copy.deepcopy(module, known)
        except (TypeError, RuntimeError, AttributeError) as failure:
            error = failure
    raise NetworkError(
        f"{type(module).__name__} cannot be copied ({error}); remove what copy.deepcopy refuses"
    ) from error


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


def _bake_parametrisations(module: nn.Module) -> Iterator[str]:
    """Gives every parametrised module its own class back, with the computed tensors as plain parameters.

    Yields:
        The path of each tensor.
    """
    for path, part in module.named_modules():
        if not parametrize.is_parametrized(part):
            continue
        names = list(part.parametrizations)
        with torch.no_grad():
            values = {name: getattr(part, name).detach().clone() for name in names}
        part.__class__ = type(part).__bases__[0]
        del part.parametrizations
        for name, value in values.items():
            part.register_parameter(name, nn.Parameter(value, requires_grad=False))
            yield f"{path}.{name}" if path else name


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)
