"""Forward hooks of a module: which compute a weight, which change values, and which only look on.

What a hook does is seen by running it. One that computes a weight gives its result to the copy and goes; one that
changes what goes in or comes out, or by its code might for other inputs, belongs to the function and stays; one that
does neither is left behind.
"""

import dis
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import nn

#: Tables of hooks that take part in a forward pass, with whether they run before it.
_FORWARD = {"_forward_pre_hooks": True, "_forward_hooks": False}
_LIBRARIES = {"torch", "torchvision", "timm", "numpy", "PIL", "matplotlib", "pandas", "tqdm", "wandb", "tensorboard"}
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
    read = _names_read(module)
    for watch in watches:
        getattr(watch.hook.part, watch.hook.table)[watch.hook.key] = watch
    with torch.no_grad():
        for probe in probes:
            module(probe.clone())
    baked: list[str] = []
    for watch in watches:
        hook = watch.hook
        getattr(hook.part, hook.table)[hook.key] = hook.function
        if not watch.changes_values and _might_change(hook.function, set() if watch.computed else read):
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
    return {name: value for name, value in vars(part).items() if isinstance(value, bool | int | float | str | tuple)}


def _might_change(function: Callable[..., Any], read: set[str], depth: int = 3) -> bool:
    """Returns whether a hook that did nothing might do something for other inputs, by its code.

    Code without a branch always does the same. With one, it might where it returns something, writes into tensors or
    calls what might; and it might always where it sets attributes of a module that forward passes ``read``, which may
    differ from size to size, or tells torch to write in place.
    """
    plain = _plain_function(function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return True
    steps = list(dis.get_instructions(code))
    pairs = list(pairwise(steps))
    if _writes_by_keyword(code) or any(_sets_module(step, before, plain, read) for before, step in pairs):
        return True
    called = [value for name in code.co_names + code.co_freevars if _is_ours(value := _resolved(plain, name))]
    if depth and any(_might_change(other, read, depth - 1) for other in called):
        return True
    if not any("JUMP_IF" in step.opname or "_IF_" in step.opname for step in steps):
        return False
    return any(_returns_something(step, before) or _writes(step) for before, step in pairs)


def _plain_function(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - whatever is inside
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif not hasattr(function, "__code__") and hasattr(type(function), "__call__"):  # noqa: B004 - its class's own
            inner = type(function).__call__
            if not hasattr(inner, "__code__"):
                return inner
            function = inner
        else:
            return function


def _resolved(function: Any, name: str) -> Any:  # noqa: ANN401 - whatever the name means there
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    if name in cells:
        try:
            return cells[name].cell_contents
        except ValueError:
            return None
    return function.__globals__.get(name)


def _is_ours(value: object) -> bool:
    """Returns whether a value is a function of the network's author, and not of a library."""
    module = getattr(value, "__module__", None) or ""
    root = module.partition(".")[0]
    return inspect.isfunction(value) and root not in sys.stdlib_module_names and root not in _LIBRARIES


def _names_read(module: nn.Module) -> set[str]:
    """Returns the attributes that forward passes of the network's author mention."""
    codes = [getattr(type(part).forward, "__code__", None) for part in module.modules()]
    return {name for code in codes if code is not None for name in code.co_names}


def _sets_module(
    step: dis.Instruction,
    before: dis.Instruction,
    function: Any,  # noqa: ANN401 - a function
    read: set[str],
) -> bool:
    if step.opname != "STORE_ATTR" or step.argval not in read:
        return False
    if before.opname.startswith("LOAD_FAST"):
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        return before.argval in names and not (names[0] == "self" and before.argval == "self")
    return isinstance(_resolved(function, str(before.argval)), nn.Module)


def _returns_something(step: dis.Instruction, before: dis.Instruction) -> bool:
    if step.opname == "RETURN_CONST":
        return step.argval is not None
    is_nothing = before.opname == "LOAD_CONST" and before.argval is None and not step.is_jump_target
    return step.opname == "RETURN_VALUE" and not is_nothing


def _writes_by_keyword(code: CodeType) -> bool:
    # Names of keywords are kept as constants.
    names = (name for value in code.co_consts if isinstance(value, tuple) for name in value)
    return any(name in ("out", "inplace") for name in names)


def _writes(step: dis.Instruction) -> bool:
    name = str(step.argval)
    if step.opname in ("LOAD_METHOD", "LOAD_ATTR"):
        return name.endswith("_") and not name.endswith("__")
    if step.opname == "BINARY_OP" or step.opname.startswith("INPLACE_"):
        return step.opname != "BINARY_OP" or step.argrepr.endswith("=")
    return step.opname == "STORE_SUBSCR"


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
