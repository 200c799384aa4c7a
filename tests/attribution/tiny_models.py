"""Tiny classifiers, one for each trap, that every method is tested on."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

SHAPE = (2, 6, 6)
N_CLASSES = 3


def head(channels: int, side: int = 6) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, N_CLASSES))


class FunctionalRelu(nn.Module):
    def __init__(self, relu: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.head, self.relu = nn.Conv2d(2, 4, 3, padding=1), head(4), relu

    def forward(self, x):
        return self.head(self.relu(self.conv(x)))


class Viewed(nn.Module):
    """Flattens by ``view``, which needs the ordinary layout of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4 * 36, N_CLASSES)

    def forward(self, x):
        x = functional.relu(self.conv(x))
        return self.linear(x.view(x.size(0), -1))


class ReusedRelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(), head(4)

    def forward(self, x):
        return self.head(self.relu(self.second(self.relu(self.first(x)))))


class Residual(nn.Module):
    """As in torchvision: ``out += identity`` and one in-place ReLU for both places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu, self.head = nn.ReLU(inplace=True), head(4)

    def forward(self, x):
        x = identity = self.stem(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.head(self.relu(out))


class PreActivation(nn.Module):
    """The in-place ReLU also changes what the shortcut adds: faithful only if later reads see it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), head(4)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.conv(self.relu(x)) + x)


class Concatenation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=1), head(4)

    def forward(self, x):
        return self.head(torch.cat([self.left(x).relu_(), torch.relu(self.right(x))], dim=1))


class Untraceable(nn.Module):
    """Control flow on values; its first layer overwrites what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.conv, self.head = nn.ReLU(inplace=True), nn.Conv2d(2, 4, 3, padding=1), head(4)

    def forward(self, x):
        x = self.conv(self.relu(x))
        if float(x.detach().sum()) > 1e9:
            x = x * 2
        return self.head(torch.tanh(x))


class TinyModel(NamedTuple):
    build: Callable[[], nn.Module]
    traced: bool = True
    smooth: bool = False


MODELS: dict[str, TinyModel] = {
    "plain": TinyModel(lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), head(4))),
    "in_place_relu": TinyModel(lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), head(4))),
    "functional_relu": TinyModel(lambda: FunctionalRelu(functional.relu)),
    "functional_in_place": TinyModel(lambda: FunctionalRelu(lambda x: functional.relu(x, inplace=True))),
    "method_in_place": TinyModel(lambda: FunctionalRelu(lambda x: x.add_(0.1).relu_())),
    "reused_relu": TinyModel(ReusedRelu),
    "viewed": TinyModel(Viewed),
    "residual": TinyModel(Residual),
    "pre_activation": TinyModel(PreActivation),
    "batch_norm": TinyModel(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), head(4))
    ),
    "grouped": TinyModel(lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.ReLU(), head(4))),
    "adaptive_pool": TinyModel(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Dropout(), head(4, 2))
    ),
    "max_pool": TinyModel(lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), head(4, 3))),
    "concatenation": TinyModel(Concatenation),
    "in_place_first": TinyModel(lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(2, 4, 3, padding=1), head(4))),
    "smooth": TinyModel(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.SiLU(inplace=True), head(4), nn.Tanh()), smooth=True
    ),
    "untraceable": TinyModel(Untraceable, traced=False),
}

#: Relative agreement that each dtype allows over a whole method.
DTYPES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2}


def tiny_model(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
    """The model with seeded weights and statistics, left in training mode as a caller might."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = MODELS[name].build()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(std=0.2)
                part.running_var.uniform_(0.5, 1.5)
    return module.to(dtype)


def images(batch: int = 3, dtype: torch.dtype = torch.float64, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def hungry(module, most, error, tried=None):
    """Returns a module that raises ``error`` above ``most[0]`` images at once, as an allocator does, and notes them."""

    def allocated(x):
        if tried is not None:
            tried.append(len(x))
        if len(x) > most[0]:
            raise error
        return x

    gate = nn.Identity()
    gate.forward = allocated
    return nn.Sequential(gate, module)
