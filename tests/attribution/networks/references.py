"""What explanations must equal: slow values from the user's own module, an image and a point at a time."""

import torch
from torch import nn

import attribution
from tests.attribution.tiny_models import SHAPE, images

N_STEPS = 4


class Classifier(nn.Module):
    """A convolution and a head, and between or behind them whatever ``forward`` is given as a function."""

    def __init__(self, function, channels=4, classes=3, **parts):
        super().__init__()
        self.conv, self.head = nn.Conv2d(SHAPE[0], channels, 3), nn.Linear(channels, classes)
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def features(self, x):
        return torch.tanh(self.conv(x))

    def forward(self, x):
        return self.function(self, x)


class Reversal(torch.autograd.Function):
    """Of gradients, as domain adaptation trains with."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Counting(nn.Module):
    """Grows from call to call."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class Untraceable(nn.Module):
    """Control flow on values around a network."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        if float(x.detach().sum()) > 1e9:
            x = x * 2
        return self.network(x)


def pooled(features):
    return features.mean((2, 3))


def built(make, seed=0):
    """Returns what ``make`` builds, with seeded weights, in float64 and evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double().eval()


def distance(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def one_by_one(module, inputs):
    with torch.no_grad():
        return torch.cat([module(image.clone()) for image in inputs.split(1)])


def jacobian(module, inputs):
    """Returns the derivatives ``(batch, classes, *features)`` by autograd of the module."""

    def of(image):
        return torch.autograd.functional.jacobian(lambda points: module(points.unsqueeze(0).clone())[0], image)

    return torch.stack([of(image) for image in inputs])


def jacobian_by_differences(module, inputs, step=1e-6):
    """Returns the same by central differences, for modules whose autograd is no derivative."""
    columns = []
    for direction in torch.eye(inputs[0].numel(), dtype=inputs.dtype).view(-1, *inputs.shape[1:]):
        ahead, behind = (one_by_one(module, inputs + sign * step * direction) for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    return torch.stack(columns, dim=-1).unflatten(-1, inputs.shape[1:])


def integrated(module, inputs, target, baseline, derivatives=jacobian):
    """Returns integrated gradients by the midpoint rule with ``N_STEPS`` nodes."""
    points = [baseline + (node + 0.5) / N_STEPS * (inputs - baseline) for node in range(N_STEPS)]
    rows = [derivatives(module, point)[torch.arange(len(inputs)), target] for point in points]
    return (inputs - baseline) * torch.stack(rows).mean(0)


def class_effects(derivatives, inputs):
    """Returns importance and individual effects of a Jacobian times the input."""
    rows = derivatives * inputs.unsqueeze(1)
    rows = rows - rows.mean(1, keepdim=True)
    return (rows * rows.flatten(2).sum(2)[..., None, None, None]).sum(1), (rows**2).sum(1)


def assert_explains(network, module, shape=SHAPE, derivatives=jacobian, tolerance=1e-9, inputs=None):
    """Outputs, integrated gradients and multi-class importance are those of the module, for random images if none."""
    if inputs is None:
        inputs = images(2) if shape == SHAPE else torch.randn(2, *shape, dtype=torch.float64, generator=seeded())
    baseline = torch.full_like(inputs[:1], 0.1)
    expected = one_by_one(module, inputs)
    target = torch.arange(len(inputs)) % expected.shape[1]
    assert distance(network(inputs).detach(), expected) < 1e-12
    found = attribution.integrated_gradients(
        network, inputs, target, baseline=baseline, n_steps=N_STEPS, quadrature="midpoint"
    ).attributions
    assert distance(found, integrated(module, inputs, target, baseline, derivatives)) < tolerance
    if expected.shape[1] > 1:
        maps = attribution.multiclass_importance(network, inputs)
        importance, individual = class_effects(derivatives(module, inputs), inputs)
        assert distance(maps.importance, importance) < tolerance
        assert distance(maps.individual, individual) < tolerance


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)
