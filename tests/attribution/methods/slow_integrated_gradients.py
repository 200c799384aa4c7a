"""Integrated gradients written from the papers with explicit loops; shares no code with the engine."""

import itertools

import torch


def gradient(module, point, target):
    point = point.clone().requires_grad_()
    (slope,) = torch.autograd.grad(module(point.clone().unsqueeze(0))[0, target], point)
    return slope


def value(module, point, target):
    with torch.no_grad():
        return float(module(point.clone().unsqueeze(0))[0, target])


def riemann(module, image, baseline, target, n_steps, quadrature):
    """Equation 3 of Sundararajan, Taly & Yan (right end), and its midpoint and trapezoid variants."""
    total = torch.zeros_like(image)
    for step in range(n_steps):
        if quadrature == "right":
            total += gradient(module, baseline + (step + 1) / n_steps * (image - baseline), target) / n_steps
        elif quadrature == "midpoint":
            total += gradient(module, baseline + (step + 0.5) / n_steps * (image - baseline), target) / n_steps
        elif quadrature == "trapezoid" and step < n_steps - 1:
            left = gradient(module, baseline + step / (n_steps - 1) * (image - baseline), target)
            right = gradient(module, baseline + (step + 1) / (n_steps - 1) * (image - baseline), target)
            total += (left + right) / 2 / (n_steps - 1)
    attributions = (image - baseline) * total
    change = value(module, image, target) - value(module, baseline, target)
    return attributions, float(attributions.sum()) - change


def bisected(module, image, baseline, target, places):
    """The trapezoid sum on given places of the path, with the net gap and the sum of absolute gaps."""
    total, gaps = torch.zeros_like(image), []
    for left, right in itertools.pairwise(places):
        a, b = baseline + left * (image - baseline), baseline + right * (image - baseline)
        part = (gradient(module, a, target) + gradient(module, b, target)) / 2 * (right - left)
        gaps.append(float((part * (image - baseline)).sum()) - value(module, b, target) + value(module, a, target))
        total += part
    return (image - baseline) * total, sum(gaps), sum(abs(gap) for gap in gaps)
