"""Shapley values as the formula says, subset by subset, with the whole network run and one layer's output replaced."""

import itertools
import math

import torch
from torch import nn


def replaced_output(module, image, layer, activation, call=1):
    """The output for one image where one call of a submodule returns ``activation`` instead."""
    calls = 0

    def replace(part, given, output):
        nonlocal calls
        calls += 1
        return activation.clone() if calls == call else output

    handle = module.get_submodule(layer).register_forward_hook(replace)
    try:
        with torch.no_grad():
            return module(image.clone().unsqueeze(0))[0]
    finally:
        handle.remove()


def layer_output(module, images, layer, call=1):
    """What one call of a submodule returns."""
    found = []

    def keep(part, given, output):
        # A later operation may overwrite the tensor.
        found.append(output.clone())

    handle = module.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.no_grad():
            module(images.clone())
    finally:
        handle.remove()
    return found[call - 1]


def shapley_values(worth, n):
    """The formula: for each player the weighted sum over all subsets of the others."""
    values = []
    for player in range(n):
        others = [other for other in range(n) if other != player]
        total = 0.0
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for subset in itertools.combinations(others, size):
                total += weight * (worth({*subset, player}) - worth(set(subset)))
        values.append(total)
    return torch.tensor(values, dtype=torch.float64)


def layer_worth(module: nn.Module, image, layer, target, background, owned, excluded="mean", call=1):
    """``v(S)`` of a layer; ``owned`` is a list of boolean tensors, one a player, of the activation's shape."""
    own = layer_output(module, image.unsqueeze(0), layer, call)[0]
    absent = layer_output(module, background, layer, call)
    absent = absent.mean(0, keepdim=True) if excluded == "mean" else absent
    known = {}

    def worth(players):
        key = frozenset(players)
        if key not in known:
            outputs = []
            for one in absent:
                activation = one.clone()
                for player in players:
                    activation[owned[player]] = own[owned[player]]
                output = replaced_output(module, image, layer, activation.unsqueeze(0), call)
                outputs.append(float(output[target]))
            known[key] = sum(outputs) / len(outputs)
        return known[key]

    return worth
