"""Forward hooks of a module: which compute a weight, which change values, and which only look on.

What a hook does is seen by running it. One that computes a weight gives its result to the copy and goes; one that
changes what goes in or comes out, or by its code might for other inputs, belongs to the function and stays; one that
does neither is left behind.
"""

import dis
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn

#: Tables of hooks that take part in a forward pass, with whether they run before it.
_FORWARD = {"_forward_pre_hooks": True, "_forward_hooks": False}
#: What torch keeps beside a weight that a hook computes.
_INGREDIENTS = ("_orig", "_mask", "_g", "_v", "_u")


class Hook(NamedTuple):
    """One forward hook in the tables of a module."""

    path: str
    part: nn.Module
    table: str
    key: int
    function: Callable[..., Any]

    @property
    def description(self) -> str:
        """Where it is and what it is called."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"{self.path or 'the network itself'} ({name.replace('<locals>.', '')})"


class Settled(NamedTuple):
    """Paths of ``baked`` weights, and descriptions of hooks that were ``kept`` and of those ``dropped``."""

    baked: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]


def forward_hooks(module: nn.Module) -> list[Hook]:
    """Returns every hook that takes part in a forward pass."""
    return [
        Hook(path, part, table, key, function)
        for path, part in module.named_modules()
        for table in _FORWARD
        for key, function in getattr(part, table).items()
    ]


def has_forward_hooks(part: nn.Module) -> bool:
    """Returns whether hooks of this module itself take part in a forward pass."""
    return any(getattr(part, table) for table in _FORWARD)


def without_hooks(module: nn.Module) -> nn.Module:
    """Returns the module, rid of its forward hooks."""
    for hook in forward_hooks(module):
        del getattr(hook.part, hook.table)[hook.key]
    return module


def settle(module: nn.Module, probes: Sequence[torch.Tensor]) -> Settled:
    """Makes a copy's hooks permanent or unnecessary; what it computes for the probes stays as it is.

    Args:
        module: A frozen copy that still has all hooks of the original.
        probes: At least two inputs that differ; a weight that comes out alike for all of them is one of the network.

    Returns:
        What became of the hooks.
    """
    watches = [_Watch(hook) for hook in forward_hooks(module)]
    for watch in watches:
        getattr(watch.hook.part, watch.hook.table)[watch.hook.key] = watch
    with torch.no_grad():
        for probe in probes:
            module(probe.clone())
    baked: list[str] = []
    for watch in watches:
        hook = watch.hook
        getattr(hook.part, hook.table)[hook.key] = hook.function
        if not watch.changes_values and _might_change(hook.function):
            watch.changes_values = True
        if not watch.changes_values:
            del getattr(hook.part, hook.table)[hook.key]
            getattr(hook.part, f"{hook.table}_with_kwargs").pop(hook.key, None)
            baked += [_bake(owner, name, hook.path) for owner, name in watch.computed]
    return Settled(
        tuple(dict.fromkeys(baked)),
        tuple(watch.hook.description for watch in watches if watch.changes_values),
        tuple(watch.hook.description for watch in watches if not watch.changes_values and not watch.computed),
    )


def call_with_hooks(part: nn.Module, forward: Callable[..., Any], inputs: Any) -> Any:  # noqa: ANN401 - any input
    """Returns what calling a module gives that has one input: its hooks around another function in its place."""
    args: tuple[Any, ...] = (inputs,)
    kwargs: dict[str, Any] = {}
    for key, hook in part._forward_pre_hooks.items():  # noqa: SLF001 - torch has no other way to run them on a proxy
        if key in part._forward_pre_hooks_with_kwargs:  # noqa: SLF001
            if (changed := hook(part, args, kwargs)) is not None:
                args, kwargs = changed
        elif (changed := hook(part, args)) is not None:
            args = changed if isinstance(changed, tuple) else (changed,)
    result = forward(part, *args, **kwargs)
    for key, hook in part._forward_hooks.items():  # noqa: SLF001
        takes_kwargs = key in part._forward_hooks_with_kwargs  # noqa: SLF001
        changed = hook(part, args, kwargs, result) if takes_kwargs else hook(part, args, result)
        result = result if changed is None else changed
    return result


class _Watch:
    """Calls a hook in its place and sees what it does."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.changes_values = False
        self.computed: dict[tuple[nn.Module, str], torch.Tensor] = {}

    def __call__(self, part: nn.Module, *values: Any) -> Any:  # noqa: ANN401 - a hook's signature
        seen = list(_tensors(values))
        versions = [tensor._version for tensor in seen]  # noqa: SLF001 - says whether somebody wrote into it
        before, plain = _marks(part), _plain(part)
        result = self.hook.function(part, *values)
        written = [tensor._version for tensor in seen] != versions  # noqa: SLF001
        # A number that a hook leaves in a module may be read in its forward pass.
        self.changes_values |= result is not None or written or _plain(part) != plain
        if _FORWARD[self.hook.table]:
            for (owner, name), mark in _marks(part).items():
                if before.get((owner, name)) != mark:
                    self._note(owner, name)
        return result

    def _note(self, owner: nn.Module, name: str) -> None:
        value = getattr(owner, name).detach().clone()
        known = self.computed.setdefault((owner, name), value)
        # What differs from one input to the next is no weight.
        self.changes_values |= known.shape != value.shape or not torch.equal(known, value)


def _marks(part: nn.Module) -> dict[tuple[nn.Module, str], tuple[int, int]]:
    """Returns for each tensor of a module and those inside it by which one would see that it was written anew."""
    return {
        (owner, name): (id(value), value._version)  # noqa: SLF001
        for owner in part.modules()
        for table in (vars(owner), owner._parameters, owner._buffers)  # noqa: SLF001 - plain attributes as well
        for name, value in table.items()
        if isinstance(value, torch.Tensor)
    }


def _plain(part: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(part).items() if isinstance(value, bool | int | float | str)}


def _might_change(function: Callable[..., Any]) -> bool:
    """Returns whether a hook that did nothing might do something for other inputs, by its code.

    Code without a branch always does the same. With one, it might where it returns something or writes into tensors.
    """
    code = getattr(_unwrapped_function(function), "__code__", None)
    if code is None:
        return True
    steps = list(dis.get_instructions(code))
    if not any("JUMP_IF" in step.opname or "JUMP_FORWARD_IF" in step.opname for step in steps):
        return False
    return any(_returns_something(step, before) or _writes(step) for before, step in pairwise(steps))


def _unwrapped_function(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - whatever is inside
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif not hasattr(function, "__code__") and hasattr(type(function), "__call__"):  # noqa: B004 - the one of its class
            inner = type(function).__call__
            if not hasattr(inner, "__code__"):
                return inner
            function = inner
        else:
            return function


def _returns_something(step: dis.Instruction, before: dis.Instruction) -> bool:
    if step.opname == "RETURN_CONST":
        return step.argval is not None
    is_nothing = before.opname == "LOAD_CONST" and before.argval is None
    return step.opname == "RETURN_VALUE" and not is_nothing


def _writes(step: dis.Instruction) -> bool:
    name = str(step.argval)
    is_in_place = step.opname in ("LOAD_METHOD", "LOAD_ATTR") and name.endswith("_") and not name.endswith("__")
    return is_in_place or step.opname == "STORE_SUBSCR"


def _bake(owner: nn.Module, name: str, path: str) -> str:
    """Makes a computed attribute a parameter, in place of what it was computed from.

    Returns:
        The attribute's path.
    """
    value = vars(owner).pop(name, None)
    if value is None:
        return f"{path}.{name}" if path else name
    for ingredient in _INGREDIENTS:
        owner._parameters.pop(name + ingredient, None)  # noqa: SLF001 - where torch registers them
        owner._buffers.pop(name + ingredient, None)  # noqa: SLF001
    owner.register_parameter(name, nn.Parameter(value.detach(), requires_grad=False))
    return f"{path}.{name}" if path else name


def _tensors(values: object) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
