"""Networks as people write them, each with a plain twin: the same function of separate modules, nothing in place."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

SHAPE, N_CLASSES = (2, 6, 6), 3


class Trap(NamedTuple):
    """How to build a network from its plain twin, and what is special about it."""

    what: str
    twin: Callable[[], nn.Module]
    build: Callable[[nn.Module], nn.Module]


class Plain(nn.Module):
    """Two convolutions with a rectifier behind each, perhaps a shortcut, perhaps a pool."""

    def __init__(self, *, pooled: bool = False, shortcut: str = "none", normed: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if normed else None
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.pool = nn.MaxPool2d(2) if pooled else None
        self.fc = nn.Linear(4 * (9 if pooled else 36), N_CLASSES)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        stem = self.conv1(x)
        first = self.relu1(stem)
        second = _perhaps(self.norm, self.conv2(first))
        if self.shortcut != "none":
            second = second + {"stem": stem, "rectified": first}[self.shortcut]
        return self.fc(_perhaps(self.pool, self.relu2(second)).flatten(1))


def _perhaps(part: nn.Module | None, x: torch.Tensor) -> torch.Tensor:
    return x if part is None else part(x)


class _Rewritten(nn.Module):
    """The same parameters under the same names, another way to write the pass."""

    def __init__(self, twin: nn.Module) -> None:
        super().__init__()
        self.norm: nn.Module | None = None
        self.pool: nn.Module | None = None
        for name, part in copy.deepcopy(twin).named_children():
            setattr(self, name, part)


class Functional(_Rewritten):
    """Activations and pool are functions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        x = functional.relu(_perhaps(self.norm, self.conv2(functional.relu(self.conv1(x)))))
        x = x if self.pool is None else functional.max_pool2d(x, 2)
        return self.fc(torch.flatten(x, 1))


class FunctionalInPlace(_Rewritten):
    """Activations are functions and methods in place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        x = functional.relu(self.conv1(x), inplace=True)
        return self.fc(self.conv2(x).relu_().flatten(1))


class Reused(_Rewritten):
    """One rectifier for both places."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        return self.fc(self.relu1(self.conv2(self.relu1(self.conv1(x)))).flatten(1))


class ResidualInPlace(_Rewritten):
    """As torchvision writes its blocks: ``out += identity``, one rectifier in place for both."""

    def __init__(self, twin: nn.Module) -> None:
        super().__init__(twin)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        identity = self.conv1(x)
        out = _perhaps(self.norm, self.conv2(functional.relu(identity)))
        out += identity
        return self.fc(self.relu(out).flatten(1))


class PreActivation(_Rewritten):
    """The rectifier in place also changes what the shortcut adds."""

    def __init__(self, twin: nn.Module) -> None:
        super().__init__(twin)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        stem = self.conv1(x)
        return self.fc(self.relu(self.conv2(self.relu(stem)) + stem).flatten(1))


def _sequential(*, is_vgg: bool) -> nn.Module:
    parts = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(2, 4, 3, padding=1), relu1=nn.ReLU(), conv2=nn.Conv2d(4, 4, 3, padding=1), relu2=nn.ReLU()
    )
    if is_vgg:
        parts["pool"] = nn.MaxPool2d(2)
    parts |= {"flatten": nn.Flatten(), "fc": nn.Linear(4 * (9 if is_vgg else 36), N_CLASSES)}
    return nn.Sequential(parts)


def _in_place(twin: nn.Module) -> nn.Module:
    module = copy.deepcopy(twin)
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = True
    return module


def _example() -> torch.Tensor:
    return torch.zeros(2, *SHAPE, dtype=torch.float64)


def _scripted(twin: nn.Module) -> nn.Module:
    return torch.jit.trace(copy.deepcopy(twin).eval(), _example())  # type: ignore[no-any-return,no-untyped-call]


def _exported(twin: nn.Module) -> nn.Module:
    shapes = ({0: torch.export.Dim("batch")},)
    return torch.export.export(copy.deepcopy(twin).eval(), (_example(),), dynamic_shapes=shapes).module()


def _overwriting(twin: nn.Module) -> nn.Module:
    module = copy.deepcopy(twin)
    module.first.inplace = True
    return module


def _behind_a_rectifier() -> nn.Module:
    return nn.Sequential(OrderedDict(first=nn.ReLU(), rest=Plain()))


TRAPS = {
    "plain modules": Trap("nothing: what every library is tested on", Plain, copy.deepcopy),
    "in-place modules": Trap("`nn.ReLU(inplace=True)` in a row", lambda: _sequential(is_vgg=False), _in_place),
    "VGG": Trap("the same, a max pool behind it", lambda: _sequential(is_vgg=True), _in_place),
    "functional": Trap("`F.relu`", Plain, Functional),
    "functional pool": Trap("`F.relu`, `F.max_pool2d`", lambda: Plain(pooled=True), Functional),
    "functional in place": Trap("`F.relu(..., inplace=True)` and `.relu_()`", Plain, FunctionalInPlace),
    "functional with batch norm": Trap("`F.relu` behind a batch norm", lambda: Plain(normed=True), Functional),
    "reused": Trap("one `nn.ReLU` called twice", Plain, Reused),
    "residual in place": Trap("`out += identity`", lambda: Plain(shortcut="stem", normed=True), ResidualInPlace),
    "pre-activation": Trap("the shortcut is rectified in place", lambda: Plain(shortcut="rectified"), PreActivation),
    "first in place": Trap("the first layer overwrites its input", _behind_a_rectifier, _overwriting),
    "TorchScript": Trap("`torch.jit.trace`", Plain, _scripted),
    "exported": Trap("`torch.export`", Plain, _exported),
}
"""By name."""


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A trap and its twin, in float64, evaluating, with the same drawn parameters and statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        twin = TRAPS[name].twin()
        for part in twin.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.running_mean, std=0.2)  # type: ignore[arg-type]
                nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    twin = twin.double().eval()
    return TRAPS[name].build(twin), twin
