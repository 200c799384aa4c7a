"""Layer-wise relevance propagation with matrices and explicit loops; shares no code with the engine."""

import torch
from torch import nn

from tests.attribution.methods.slow_rules import forward, steps_of


def merged(parts):
    """A chain of layers in which a batch normalisation is one layer with the convolution before it."""
    found = []
    for part in parts:
        if isinstance(part, nn.BatchNorm2d) and isinstance(found[-1], nn.Conv2d | nn.Linear):
            found[-1] = nn.Sequential(found[-1], part).eval()
        else:
            found.append(part)
    return found


def rule_of(part, rule):
    """What one part of a chain follows: sums, pools and lone normalisations have no weights of their own."""
    first = part[0] if isinstance(part, nn.Sequential) else part
    if not isinstance(first, nn.Conv2d | nn.Linear):
        return "epsilon"
    if rule == "epsilon_plus":
        return "alpha1_beta0" if isinstance(first, nn.Conv2d) else "epsilon"
    return rule


def relevance(parts, image, target, rule, epsilon, gamma):
    """The relevance of the image, and what biases and epsilon keep of it."""
    steps = steps_of(merged(parts), image.shape)
    parts = [part for part in merged(parts) if not isinstance(part, nn.Flatten)]
    assert len(steps) == len(parts)
    trace, outputs = forward(steps, image.flatten())
    found, aside, lost = torch.zeros_like(outputs), None, [0.0, 0.0]
    found[target] = outputs[target]
    for step, part, (before, kept) in zip(reversed(steps), reversed(parts), reversed(trace), strict=True):
        if step[0] == "affine":
            found = affine(step, before, found, rule_of(part, rule), epsilon, gamma, lost)
        elif step[0] == "maximum":
            handed = torch.zeros_like(before)
            for j, window in enumerate(step[1]):
                handed[window[int(before[window].argmax())]] += found[j]
            found = handed
        elif step[0] == "join":
            total = before + kept
            stable = total + epsilon * torch.where(total < 0, -1.0, 1.0).double()
            lost[1] += float((found * (1 - total / stable)).sum())
            found, aside = found * before / stable, found * kept / stable
        elif step[0] == "fork":
            found, aside = found + aside, None
    return found.view(image.shape), lost


def affine(step, before, relevance_after, rule, epsilon, gamma, lost):
    """One output after another."""
    _, weight, bias = step
    handed = torch.zeros_like(before)
    for k, (row, own) in enumerate(zip(weight, bias.tolist(), strict=True)):
        b = own
        shares = before * row
        z = float(shares.sum()) + b
        if rule == "alpha1_beta0":
            shares, b = shares.clamp(min=0), max(b, 0.0)
        elif rule == "gamma" and z >= 0:
            shares, b = shares + gamma * shares.clamp(min=0), b + gamma * max(b, 0.0)
        elif rule == "gamma":
            shares, b = shares + gamma * shares.clamp(max=0), b + gamma * min(b, 0.0)
        total = float(shares.sum()) + b
        stable = total + (epsilon if total >= 0 else -epsilon)
        given = float(relevance_after[k])
        handed += shares / stable * given
        lost[0] += b / stable * given
        lost[1] += (stable - total) / stable * given
    return handed
