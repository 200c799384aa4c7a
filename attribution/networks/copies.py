"""A frozen copy of a module over the same weights, which leaves the module as it was."""

import copy
import pickle
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

#: Where torch keeps what a module is made of; all else in it are attributes of its author's.
_TABLES = {"_parameters", "_buffers", "_modules"}
#: Hooks that only a backward pass calls: they may change gradients, but not the function whose gradients we want.
_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")


class FrozenCopy(NamedTuple):
    """A copy in evaluation mode, and what became of what computes its weights and of its hooks.

    Attributes:
        module: The copy.
        baked: Paths of weights that a parametrisation or a hook computed; they are plain weights now.
        kept: Hooks that change values and belong to the function.
        dropped: Hooks that change nothing and were left behind.
        weights: Each parameter by path, and how often its values had been changed when it was copied.
    """

    module: nn.Module
    baked: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    weights: tuple[tuple[str, nn.Parameter, int], ...]


def frozen_copy(module: nn.Module, probes: Sequence[torch.Tensor] = (), *, keep_hooks: bool = False) -> FrozenCopy:
    """Returns a copy: parameters share storage and ask for no gradient, buffers are copied.

    A part with a ``train()`` or ``eval()`` of its own, which may change weights (adapters that are merged), gets copies
    of them. What a parametrisation computes becomes a plain weight. So does what a forward hook computes, once there
    are probes to run it on; before that all forward hooks are kept.

    Raises:
        NetworkError: The module has parameters without a shape yet, is TorchScript, or cannot be copied.
    """  # noqa: DOC502 - the checks that it calls raise
    module = unwrapped(module)
    _require_no_script(module)
    memo: dict[int, Any] = {}
    own = {id(inner) for part in module.modules() if _has_modes_of_its_own(part) for inner in part.modules()}
    for part in module.modules():
        memo |= _detached_tensors(part, is_shared=id(part) not in own)
        for name in _BACKWARD_HOOKS:
            memo[id(getattr(part, name, None))] = OrderedDict()
    memo.pop(id(None), None)
    duplicate = _duplicate(module, memo)
    _require_no_part_of(module, duplicate)
    evaluate(duplicate)
    duplicate.requires_grad_(False)
    baked = tuple(_bake_parametrisations(duplicate))
    hooks = forward_hooks(duplicate)
    if not probes or not hooks or keep_hooks:
        kept = tuple(hook.description for hook in hooks) if probes else ()
        return FrozenCopy(duplicate, baked, kept, (), _weights(duplicate))
    settled = settle(duplicate, probes)
    return FrozenCopy(duplicate, (*baked, *settled.baked), settled.kept, settled.dropped, _weights(duplicate))


def shared_copy(module: nn.Module) -> nn.Module:
    """Returns another copy of a frozen copy, whose flags and in-place operations may be changed."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        memo |= _detached_tensors(part)
    return _duplicate(module, memo).requires_grad_(False)


def require_unchanged(copied: FrozenCopy) -> None:
    """Refuses a copy whose weights somebody has changed: what was copied or computed beside them is not of these.

    Raises:
        NetworkError: They have changed.
    """
    changed = [name for name, weight, version in copied.weights if _version(weight) != version]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise NetworkError(
            f"the module's weights have changed since it was wrapped ({changed[0]}{more}; by load_state_dict, or a step"
            " of training): statistics and checks are of those before; wrap it again, Network(module)"
        )


def _weights(module: nn.Module) -> tuple[tuple[str, nn.Parameter, int], ...]:
    return tuple((name, parameter, _version(parameter)) for name, parameter in module.named_parameters())


def _version(tensor: torch.Tensor) -> int:
    """Returns how often the values of a tensor were changed in place, also by whoever shares them."""
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch has no other name for it


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
    kept = [_Kept(part) for part in module.modules()]
    changing = [part for part in module.modules() if _has_modes_of_its_own(part)]
    tensors = {*module.buffers(), *(parameter for part in changing for parameter in part.parameters())}
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    devices = {tensor.device for tensor in module.parameters() if tensor.device.type == "cuda"}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            evaluate(module)
            yield module
    finally:
        for one in kept:
            one.restore()
        with torch.no_grad():
            for tensor, value in before:
                if not torch.equal(tensor, value):
                    tensor.data.copy_(value)


class _Kept:
    """The attributes of one module that are no submodules, parameters or buffers, to be put back."""

    def __init__(self, part: nn.Module) -> None:
        self._part = part
        self._attributes = {name: value for name, value in vars(part).items() if name not in _TABLES}
        self._contents = [(value, copy.copy(value)) for value in self._attributes.values() if _is_container(value)]

    def restore(self) -> None:
        attributes = vars(self._part)
        for name in attributes.keys() - self._attributes.keys() - _TABLES:
            del attributes[name]
        attributes.update(self._attributes)
        for container, content in self._contents:
            if _identities(container) != _identities(content):
                container.clear()
                (container.extend if isinstance(container, list) else container.update)(content)


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
        except (TypeError, RuntimeError, AttributeError, pickle.PickleError) as failure:
            error = failure
    raise NetworkError(
        f"{type(module).__name__} cannot be copied ({error}); remove what copy.deepcopy refuses"
    ) from error


def _has_modes_of_its_own(part: nn.Module) -> bool:
    kind = type(part)
    is_plain = kind.train is nn.Module.train and kind.eval is nn.Module.eval
    return not is_plain or not vars(part).keys().isdisjoint(("train", "eval"))


def _require_no_part_of(module: nn.Module, duplicate: nn.Module) -> None:
    """Accepts a copy that shares no module with what it was made of.

    Raises:
        NetworkError: A module is its own copy.
    """
    originals = {id(part) for part in module.modules()}
    for path, part in duplicate.named_modules():
        if id(part) in originals:
            raise NetworkError(
                f"{path or 'the network'} ({type(part).__name__}) is no copy but the module itself: its __deepcopy__"
                " returns it; give it an ordinary one"
            )


def _detached_tensors(part: nn.Module, *, is_shared: bool = True) -> dict[int, Any]:
    """Returns what each differentiable tensor of one module becomes in the copy, by identity.

    Args:
        part: The module.
        is_shared: Whether parameters of the copy share memory with the module's.

    Raises:
        NetworkError: A parameter has no shape yet.
    """
    memo: dict[int, Any] = {}
    for name, parameter in part.named_parameters(recurse=False):
        if is_lazy(parameter):
            raise NetworkError(
                f"parameter {name} of {type(part).__name__} has no shape yet; run the module once, then wrap it"
            )
        values = parameter.detach() if is_shared else parameter.detach().clone()
        memo[id(parameter)] = nn.Parameter(values, requires_grad=False)
    # weight_norm keeps the computed weight as a plain attribute, others their activations; deepcopy refuses them.
    pending, seen = [value for name, value in vars(part).items() if name not in _TABLES], set[int]()
    while pending:
        value = pending.pop()
        if isinstance(value, torch.Tensor):
            if value.requires_grad:
                memo.setdefault(id(value), value.detach())
        elif isinstance(value, torch.jit.ScriptFunction):
            memo[id(value)] = value
        elif isinstance(value, list | tuple | dict) and id(value) not in seen:
            seen.add(id(value))
            pending += value.values() if isinstance(value, dict) else value
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


def _identities(container: Any) -> list[Any]:  # noqa: ANN401 - a list, a set or a dictionary
    if isinstance(container, dict):
        return [(key, id(value)) for key, value in container.items()]
    return [id(value) for value in container]


def _is_container(value: object) -> bool:
    return isinstance(value, list | dict | set)
