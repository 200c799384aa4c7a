"""Networks of an operator's own that are odd in one way each, as `tests.workers.own_networks:<function>`."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from attribution.architectures import small_vit

SIZE = 16


class Small(nn.Module):
    """Two convolutions and a linear layer of their means."""

    def __init__(self, num_classes: int = 3, channels: int = 3, width: int = 4) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv2(torch.tanh(self.conv1(x)))).mean((2, 3)))


class Enormous(nn.Module):
    """A few weights, and 4096 maps of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.widen, self.fc = nn.Conv2d(3, 4096, 1), nn.Linear(4096, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.widen(x)).mean((2, 3)))


class TiedWeights(Small):
    """The second convolution and a third share their weight, and have biases of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv3.weight = self.conv2.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv3(torch.tanh(self.conv2(torch.tanh(self.conv1(x)))))).mean((2, 3)))


class OneModuleTwice(nn.Module):
    """One stage under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3))
        self.features, self.fc = self.backbone, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


class TiedHeads(nn.Module):
    """Three scores of three parts of the image by one linear layer, and a batch norm that is there twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second, self.third = (
            nn.Conv2d(3, 4, 3),
            nn.Linear(4, 3),
            nn.Linear(4, 3),
            nn.Linear(4, 3),
        )
        self.second.weight = self.third.weight = self.first.weight
        self.norm = self.same_norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.same_norm(torch.tanh(self.norm(self.conv(x))))
        low, high = maps.amin((2, 3)), maps.amax((2, 3))
        return self.first(maps.mean((2, 3))) + self.second(low) + self.third(high)


class PaddedPool(Small):
    """Pads with -inf, so that the largest of each window is none of the padding."""

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(torch.tanh(self.conv1(x)), (0, 1, 0, 1), value=-torch.inf)
        return self.fc(torch.tanh(self.conv2(functional.max_pool2d(padded, 3, 2))).mean((2, 3)))


class Branching(Small):
    """Asks a value what to do."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv1(x)
        if float(maps.detach().mean()) > 1e9:
            maps = -maps
        return self.fc(torch.tanh(self.conv2(maps)).mean((2, 3)))


class Repeating(nn.Module):
    """Repeats a layer as often as the size of a tensor's values says, inside of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.fc = nn.Conv2d(3, 4, 3, padding=1), Loop(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(self.stem(x)).mean((2, 3)))


class Loop(nn.Module):
    """As many turns as a sum says."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int((x.abs().sum() >= 0).item()) + 1):
            x = torch.tanh(self.conv(x))
        return x


class ByNumpy(Small):
    """Leaves torch on its way."""

    def forward(self, x: Tensor) -> Tensor:
        scale = float(self.conv1(x).detach().numpy().mean() < 1e9)
        return super().forward(x) * scale


MOST = 2


def modest(x: Tensor) -> Tensor:
    """The same; more than a few images at once are more than fits into memory."""
    if len(x) > MOST:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return x * 1


fx.wrap("modest")


class Hungry(Small):
    """Takes more memory for a batch than there is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(modest(x))


class Softened(Small):
    """Its last step makes probabilities."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Steep(nn.Module):
    """A step at a brightness: a few points on the path miss it."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(200 * (x.mean((1, 2, 3)) - 0.31)).unsqueeze(1) * self.slope


class Even(nn.Module):
    """Every pixel counts alike."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3)).unsqueeze(1) * self.slope


class Sure(nn.Module):
    """Of its first class whatever the image, which moves the output a little."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return (1 + 0.01 * x.mean((1, 2, 3))).unsqueeze(1) * self.slope


class Once(torch.autograd.Function):
    """Has a gradient, and no gradient of that."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> Tensor:
        [x] = ctx.saved_tensors
        return given * (1 - x.tanh() ** 2)


class OnceDifferentiable(Small):
    """Uses it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Once.apply(x))


class OnePixel(nn.Module):
    """Looks at one place of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 3, 4].sum(1, keepdim=True) * self.slope


class Huge(Small):
    """Its outputs are at the end of what float32 holds."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1e37


class Pair(Small):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class Dictionary(Small):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x)}


class Squeezed(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


class Maps(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, None, None]


class Siamese(Small):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x - y)


class WithFlag(Small):
    def forward(self, x: Tensor, return_features: bool = False) -> Any:
        logits = super().forward(x)
        return (logits, x) if return_features else logits


class Brightness(nn.Module):
    """A linear layer of the image's mean."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(1, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class Lattice(nn.Module):
    """Units of three pixels, four apart, the first around the corner: not where stretching would put them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 2, 3, stride=4, padding=1, bias=False), nn.Linear(2, 2, bias=False)
        nn.init.ones_(self.conv.weight)
        self.fc.weight.data.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.relu(self.conv(x)).mean((2, 3)))


class Ways(nn.Module):
    """Layers whose names differ in what file names cannot hold: used twice, by case and by sign."""

    def __init__(self) -> None:
        super().__init__()
        for name in NAMES:
            self.add_module(name, nn.Conv2d(2, 2, 1))
        self.relu, self.fc = nn.ReLU(), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :2]
        for name in NAMES:
            x = self.get_submodule(name)(x)
        x = self.relu(x)
        return self.fc(self.relu(-x).mean((2, 3)))


NAMES = ["relu_2", "ReLU", "con", "NUL", "é", "e\u0301", "ж", "Ω", "a b", "a_b", "A-B", "a-b"]
"""`relu:2` is the second call of `relu`."""


def small(num_classes: int = 3) -> nn.Module:
    return Small(num_classes)


def grey(num_classes: int = 3) -> nn.Module:
    return Small(num_classes, channels=1)


def enormous() -> nn.Module:
    return Enormous()


def tied_weights() -> nn.Module:
    return TiedWeights()


def one_module_twice() -> nn.Module:
    return OneModuleTwice()


def tied_heads() -> nn.Module:
    return TiedHeads()


def padded_pool() -> nn.Module:
    return PaddedPool()


def branching() -> nn.Module:
    return Branching()


def repeating() -> nn.Module:
    return Repeating()


def by_numpy() -> nn.Module:
    return ByNumpy()


def hungry(num_classes: int = 3) -> nn.Module:
    return Hungry(num_classes)


def softened() -> nn.Module:
    return Softened()


def steep() -> nn.Module:
    return Steep()


def even() -> nn.Module:
    return Even()


def sure() -> nn.Module:
    return Sure()


def lattice() -> nn.Module:
    return Lattice()


def class_token() -> nn.Module:
    return small_vit(num_classes=3, side=SIZE)


def ways() -> nn.Module:
    return Ways()


def without_second_gradient() -> nn.Module:
    return OnceDifferentiable()


def one_pixel() -> nn.Module:
    return OnePixel()


def huge() -> nn.Module:
    return Huge()


def pair() -> nn.Module:
    return Pair()


def dictionary() -> nn.Module:
    return Dictionary()


def squeezed() -> nn.Module:
    return Squeezed()


def maps() -> nn.Module:
    return Maps()


def siamese() -> nn.Module:
    return Siamese()


def with_flag() -> nn.Module:
    return WithFlag()


def wide() -> nn.Module:
    return Small(width=24)


def brightness(num_classes: int = 12) -> nn.Module:
    return Brightness(num_classes)
