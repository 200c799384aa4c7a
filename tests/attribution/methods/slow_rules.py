"""DeepLIFT and epsilon-LRP with matrices and explicit loops; shares no code with the engine.

A network is a list of steps on one vector: ``("affine", weight, bias)``, ``("elementwise", function)``,
``("maximum", windows)``, and, for a shortcut, ``("fork",)`` and ``("join",)``, which adds what was forked.
"""

import copy
import itertools

import torch
from torch import nn


def affine(module, shape):
    """A linear module as a matrix, found by trying each unit vector, and its output's shape."""
    unit = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        bias = module(torch.zeros(1, *shape, dtype=torch.float64))
        weight = (module(unit) - bias).flatten(1).T
    return ("affine", weight, bias.flatten()), tuple(bias.shape[1:])


def windows(shape, size, stride, padding):
    """For each output of a maximum pool, the indices of its inputs."""
    channels, height, width = shape
    index = torch.arange(channels * height * width).view(shape).tolist()
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in (height, width))
    return [
        [
            index[c][i][j]
            for i in range(r * stride - padding, r * stride - padding + size)
            for j in range(q * stride - padding, q * stride - padding + size)
            if 0 <= i < height and 0 <= j < width
        ]
        for c, r, q in itertools.product(range(channels), range(rows), range(columns))
    ]


def steps_of(modules, shape):
    """The steps of a chain of modules; a string in it is a step without parameters."""
    found = []
    for module in modules:
        if isinstance(module, str):
            found.append((module,))
        elif isinstance(module, nn.MaxPool2d):
            found.append(("maximum", windows(shape, module.kernel_size, module.stride, module.padding)))
            shape = tuple(module(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:])
        elif isinstance(module, nn.Flatten):
            shape = (torch.Size(shape).numel(),)
        elif isinstance(module, nn.ReLU | nn.SiLU | nn.Tanh | nn.Sigmoid):
            found.append(("elementwise", type(module)()))
        else:
            step, shape = affine(module, shape)
            found.append(step)
    return found


def forward(steps, vector):
    """The vector before each step, and the last one; with a fork, what is set aside as well."""
    trace, aside = [], None
    for step in steps:
        trace.append((vector, aside))
        if step[0] == "affine":
            vector = step[1] @ vector + step[2]
        elif step[0] == "elementwise":
            vector = step[1](vector)
        elif step[0] == "maximum":
            vector = torch.stack([vector[window].max() for window in step[1]])
        elif step[0] == "fork":
            aside = vector
        else:
            vector, aside = vector + aside, None
    return trace, vector


def relevances(steps, image, target, epsilon):
    """Epsilon-LRP of one class, in relevances."""
    trace, outputs = forward(steps, image.flatten())
    relevance, aside = torch.zeros_like(outputs), None
    relevance[target] = outputs[target]
    for step, (before, kept) in zip(reversed(steps), reversed(trace), strict=True):
        if step[0] == "affine":
            after = step[1] @ before + step[2]
            handed = torch.zeros_like(before)
            for j, z in enumerate(after.tolist()):
                sign = 1.0 if z >= 0 else -1.0
                handed += before * step[1][j] / (z + epsilon * sign) * relevance[j]
            relevance = handed
        elif step[0] == "maximum":
            handed = torch.zeros_like(before)
            for j, window in enumerate(step[1]):
                handed[window[int(before[window].argmax())]] += relevance[j]
            relevance = handed
        elif step[0] == "join":
            total = before + kept
            stable = total + epsilon * total.sign()
            relevance, aside = relevance * before / stable, relevance * kept / stable
        elif step[0] == "fork":
            relevance, aside = relevance + aside, None
    return relevance.view(image.shape)


def rescale_contributions(steps, image, reference, target):
    """DeepLIFT's rescale rule of one class, in contributions."""
    trace, outputs = forward(steps, image.flatten())
    references, _ = forward(steps, reference.flatten())
    multiplier, aside = torch.zeros_like(outputs), None
    multiplier[target] = 1.0
    for step, (here, _), (there, _) in zip(reversed(steps), reversed(trace), reversed(references), strict=True):
        if step[0] == "affine":
            multiplier = step[1].T @ multiplier
        elif step[0] == "elementwise":
            multiplier = multiplier * _slope(step[1], here, there)
        elif step[0] == "maximum":
            multiplier = _maximum_multiplier(step[1], here, there, multiplier)
        elif step[0] == "join":
            aside = multiplier
        else:
            multiplier, aside = multiplier + aside, None
    return (multiplier * (image - reference).flatten()).view(image.shape)


def _maximum_multiplier(all_windows, here, there, multiplier):
    """The change of a maximum belongs to the place of the larger of both maxima."""
    handed = torch.zeros_like(here)
    for j, window in enumerate(all_windows):
        winner = here if here[window].max() >= there[window].max() else there
        place = window[int(winner[window].argmax())]
        change = here[window].max() - there[window].max()
        handed[place] += multiplier[j] * (change / (here[place] - there[place]) if change != 0 else 1)
    return handed


def _slope(function, here, there):
    at = here.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(function(at).sum(), at)
    return torch.where(here == there, derivative, (function(here) - function(there)) / (here - there))


def residual_parts(module):
    plain = copy.deepcopy(module).eval()
    relu = nn.ReLU()
    first = [plain.stem, "fork", plain.conv1, plain.bn1, relu, plain.conv2, plain.bn2, "join", relu]
    return [*first, *plain.head]


#: The tiny models as chains of their layers.
CHAINS = {
    "plain": lambda module: list(module)[:2] + list(module[2]),
    "in_place_relu": lambda module: [module[0], nn.ReLU(), *module[2]],
    "functional_relu": lambda module: [module.conv, nn.ReLU(), *module.head],
    "functional_in_place": lambda module: [module.conv, nn.ReLU(), *module.head],
    "reused_relu": lambda module: [module.first, nn.ReLU(), module.second, nn.ReLU(), *module.head],
    "residual": residual_parts,
    "batch_norm": lambda module: list(copy.deepcopy(module).eval())[:3] + list(module[3]),
    "grouped": lambda module: list(module)[:2] + list(module[2]),
    "adaptive_pool": lambda module: list(module)[:3] + list(module[4]),
    "max_pool": lambda module: list(module)[:3] + list(module[3]),
    "in_place_first": lambda module: [nn.ReLU(), module[1], *module[2]],
    "smooth": lambda module: [module[0], nn.SiLU(), *module[2], nn.Tanh()],
}
