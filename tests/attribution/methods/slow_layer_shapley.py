"""Layer attributions with forward hooks and explicit loops, a point at a time; shares no code with the engine.

A layer is the path of a module and the number of its call, from 1.
"""

import contextlib
import itertools
from collections import Counter

import numpy as np
import torch
from torch import nn


def called(module, image):
    """Every call of a module without children, ``(path, number)``, in order."""
    calls = []
    hooks = [
        part.register_forward_hook(lambda *_, path=path: calls.append(path))
        for path, part in module.named_modules()
        if not list(part.children())
    ]
    run(module, image)
    for hook in hooks:
        hook.remove()
    return [(path, calls[: place + 1].count(path)) for place, path in enumerate(calls)]


def name_of(layer):
    path, number = layer
    return path if number == 1 else f"{path}:{number}"


@contextlib.contextmanager
def replaced(module, path, number, become):
    """``become(value)`` in place of what one call returns; what it gets is a clone that later in-place code leaves."""
    count = Counter()

    def hook(part, arguments, output):
        count[path] += 1
        return become(output.clone()).clone() if count[path] == number else None

    handle = dict(module.named_modules())[path].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def run(module, image):
    # A copy, for a first layer in place overwrites what it is given.
    return module(image.clone().unsqueeze(0))[0]


def value_at(module, image, layer):
    seen = []
    with torch.no_grad(), replaced(module, *layer, lambda value: seen.append(value) or value):
        run(module, image)
    return seen[0][0]


def gradient_at(module, image, layer, target, become=None):
    """The gradient of a logit with respect to one layer, at its own value or at one put there."""
    seen = []

    def keep(value):
        value = (value if become is None else become.unsqueeze(0)).detach().requires_grad_()
        seen.append(value)
        return value

    with replaced(module, *layer, keep):
        logit = run(module, image)[target]
    (gradient,) = torch.autograd.grad(logit, seen[0], allow_unused=True)
    return torch.zeros_like(seen[0][0]) if gradient is None else gradient[0]


def path(module, image, baselines, target, layer, n_steps):
    """The trapezoid sum over even nodes of the image's path, averaged over baselines."""
    total = 0
    for baseline in baselines:
        for step in range(n_steps - 1):
            left, right = (baseline + t / (n_steps - 1) * (image - baseline) for t in (step, step + 1))
            slope = gradient_at(module, left, layer, target) + gradient_at(module, right, layer, target)
            total = total + slope / 2 * (value_at(module, right, layer) - value_at(module, left, layer))
    return total / len(baselines)


def own_path(module, image, baselines, target, layer, n_steps):
    """Gauss-Legendre in the layer's own space; and the change of the logit that it should sum to."""
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    end, total, change = value_at(module, image, layer), 0, 0
    for baseline in baselines:
        start = value_at(module, baseline, layer)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            point = start + node * (end - start)
            total = total + weight * gradient_at(module, image, layer, target, become=point) * (end - start)
        with torch.no_grad():
            after = run(module, image)[target]
            with replaced(module, *layer, lambda value, start=start: start.unsqueeze(0)):
                change = change + after - run(module, image)[target]
    return total / len(baselines), float(change / len(baselines))


def samples(module, image, baselines, target, layer, draws):
    """Captum's definition of LayerGradientShap for draws ``(number of the baseline, t)``: a contribution each."""
    found = []
    for number, t in draws:
        baseline = baselines[number]
        slope = gradient_at(module, baseline + t * (image - baseline), layer, target)
        found.append(slope * (value_at(module, image, layer) - value_at(module, baseline, layer)))
    return torch.stack(found)


def every_value_and_gradient(module, image, target):
    """Values and gradients of all calls of modules without children at one point, in one pass."""
    count, seen = Counter(), {}

    def hook(part, arguments, output, path):
        count[path] += 1
        kept = output.clone()
        seen[name_of((path, count[path]))] = kept
        return kept.clone()

    leaves = [(path, part) for path, part in module.named_modules() if not list(part.children())]
    handles = [part.register_forward_hook(lambda *given, path=path: hook(*given, path)) for path, part in leaves]
    point = image.clone().requires_grad_()
    logit = run(module, point)[target]
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(logit, list(seen.values()), allow_unused=True)
    return {
        name: (value[0].detach(), torch.zeros_like(value[0]) if gradient is None else gradient[0])
        for (name, value), gradient in zip(seen.items(), gradients, strict=True)
    }


def every_path(module, image, baseline, target, n_steps):
    """The trapezoid sum of every layer at once."""
    points = [baseline + t / (n_steps - 1) * (image - baseline) for t in range(n_steps)]
    states = [every_value_and_gradient(module, point, target) for point in points]
    return {
        name: sum(
            (left[name][1] + right[name][1]) / 2 * (right[name][0] - left[name][0])
            for left, right in itertools.pairwise(states)
        )
        for name in states[0]
    }


class SharedIdentity(nn.Module):
    """A shortcut through an identity, which returns the very tensor that the branch reads as well."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch, self.shortcut = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Identity()
        self.relu, self.head = nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(144, 3))

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.relu(self.branch(x) + self.shortcut(x)))
