"""Guided backpropagation and deconvolution with matrices and loops; shares no code with the engine."""

import torch
from torch import nn

from tests.attribution.methods.slow_rules import forward, steps_of


def rectified(parts, image, target, guided):
    """What comes back to the image from one class, through a chain of layers."""
    steps = steps_of(parts, image.shape)
    trace, outputs = forward(steps, image.flatten())
    found, aside = torch.zeros_like(outputs), None
    found[target] = 1.0
    for step, (before, _) in zip(reversed(steps), reversed(trace), strict=True):
        if step[0] == "affine":
            found = step[1].T @ found
        elif step[0] == "elementwise":
            assert isinstance(step[1], nn.ReLU)
            found = found.clamp(min=0)
            if guided:
                pairs = zip(found.tolist(), before.tolist(), strict=True)
                found = torch.tensor([gradient if x > 0 else 0.0 for gradient, x in pairs], dtype=outputs.dtype)
        elif step[0] == "maximum":
            handed = torch.zeros_like(before)
            for j, window in enumerate(step[1]):
                handed[window[int(before[window].argmax())]] += found[j]
            found = handed
        elif step[0] == "join":
            aside = found
        else:
            found, aside = found + aside, None
    return found.view(image.shape)
