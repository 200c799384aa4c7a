"""Where in a network something happens: what is found wrong is named by the layer or line that does it."""

import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
import torch
from torch import fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

#: Code between the network's author and torch, which is not where anything of theirs happens.
_OURS = (os.path.dirname(torch.__file__), str(Path(__file__).parents[1]))  # noqa: PTH120 - as frames write it


_DICE = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)  # noqa: S311 - to look for them


class RandomDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Notes which of torch's operations inside draw random numbers, and the line of the network that asked for them.

    Attributes:
        found: Operations with their lines, in the order in which they drew.
        moved: Whether Python's or NumPy's own generator drew meanwhile, for whomever.
    """

    def __init__(self) -> None:
        """Starts with none."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.found: dict[str, None] = {}
        self.moved = False

    def __enter__(self) -> Self:
        """Begins to look.

        Returns:
            Itself.
        """
        self._before = _other_generators()
        super().__enter__()  # type: ignore[no-untyped-call]  # torch's own
        return self

    def __exit__(self, *failure: object) -> None:
        """Ends it."""
        super().__exit__(*failure)  # type: ignore[no-untyped-call]  # torch's own
        self.moved = _other_generators() != self._before

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's signature
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Returns what an operation gives."""
        if torch.Tag.nondeterministic_seeded in func.tags and not _drops_nothing(func, args, kwargs or {}):
            self.found[f"{func.overloadpacket.__name__} {line_of(sys._getframe())}"] = None  # noqa: SLF001
        return func(*args, **(kwargs or {}))


def _drops_nothing(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ANN401 - torch's
    """Returns whether an operation could drop some of what it is given, as attention can, and was told to drop none."""
    for place, argument in enumerate(func._schema.arguments):  # noqa: SLF001 - torch has no other name for it
        if argument.name == "dropout_p":
            given = args[place] if place < len(args) else kwargs.get(argument.name, argument.default_value)
            return bool(given == 0)
    return False


@contextmanager
def unmoved_dice() -> Iterator[None]:
    """Puts Python's and NumPy's shared generators back to where they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def has_dice(module: nn.Module) -> bool:
    """Returns whether a module keeps a generator of random numbers of its own, or a function of one."""
    values = (value for part in module.modules() for value in vars(part).values())
    return any(isinstance(getattr(value, "__self__", value), _DICE) for value in values)


def _other_generators() -> tuple[object, ...]:
    _, keys, place, *_ = np.random.get_state()
    return random.getstate(), np.asarray(keys).tobytes(), place


def line_of(frame: FrameType | None) -> str:
    """Returns ``(file, line n)`` of the innermost frame that is neither torch's nor ours; empty where there is none."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_OURS) and not file.startswith("<"):
            return f"({Path(file).name}, line {frame.f_lineno})"
        frame = frame.f_back
    return ""


def line_of_error(error: BaseException) -> str:
    """Returns the same of where an exception was raised, or where the author's code called what raised it."""
    found, traceback = "", error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(_OURS) and not file.startswith("<"):
            found = f"({Path(file).name}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return found


def values_by_place(
    graph: fx.GraphModule | None, plain: nn.Module, names: Mapping[fx.Node, str], inputs: torch.Tensor
) -> list[tuple[str, torch.Tensor]]:
    """Returns every tensor on the way through a network with its place, in the order in which they come about."""
    if graph is not None:
        run = _Values(graph, names)
        run.run(inputs)
        return run.found
    found: list[tuple[str, torch.Tensor]] = []
    with _noting(plain, lambda path, _, result: found.append((path, result))):
        plain(inputs.clone())
    return found


def calls_of_leaves(plain: nn.Module, inputs: torch.Tensor) -> list[tuple[str, nn.Module, torch.Tensor]]:
    """Returns the modules without children that a pass calls with one tensor, each with its path and that tensor."""
    parts, found = dict(plain.named_modules()), dict[str, torch.Tensor]()
    with torch.no_grad(), _noting(plain, lambda path, args, _: found.setdefault(path, args.detach().clone())):
        plain(inputs.clone())
    return [(path, parts[path], args) for path, args in found.items() if not any(parts[path].children())]


def first_difference(
    one: list[tuple[str, torch.Tensor]], other: list[tuple[str, torch.Tensor]], bound: float
) -> str | None:
    """Returns the place where the first rows of two passes begin to differ by more than a share of their size."""
    for (place, first), (_, second) in zip(one, other, strict=False):
        if first.dim() and second.dim() and first.shape[1:] == second.shape[1:]:
            row, twin = first[:1].double(), second[:1].double()
            if bool(((row - twin).abs() > bound * max(float(row.abs().max()), 1e-30)).any()):
                return place
    return None


class _Values(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, names: Mapping[fx.Node, str]) -> None:
        super().__init__(graph)
        self._names = names
        self.found: list[tuple[str, torch.Tensor]] = []

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - torch.fx's signature
        result = super().run_node(n)
        if n.op.startswith("call_") and isinstance(result, torch.Tensor):
            self.found.append((self._names.get(n, n.name), result.detach() if not result.requires_grad else result))
        return result


@contextmanager
def _noting(plain: nn.Module, note: Callable[[str, torch.Tensor, torch.Tensor], Any]) -> Iterator[None]:
    """Calls ``note(path, input, output)`` after each call of a submodule with a tensor first and a tensor back."""

    def hook_of(path: str) -> Callable[..., None]:
        def hook(_part: nn.Module, args: tuple[Any, ...], result: object) -> None:
            if args and isinstance(args[0], torch.Tensor) and isinstance(result, torch.Tensor):
                note(path, args[0], result)

        return hook

    handles = [part.register_forward_hook(hook_of(path)) for path, part in plain.named_modules() if path]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
