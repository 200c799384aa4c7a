"""Zhang & Gao's definitions with explicit loops; shares no code with the engine."""

import math

import torch

from tests.attribution.methods.slow_integrated_gradients import gradient, riemann


def matrix(module, image, attribution, n_classes, baselines=(), n_steps=5):
    """One row after another, ``(classes, *features)``."""
    rows = []
    for number in range(n_classes):
        if attribution == "integrated_gradients":
            parts = [riemann(module, image, one, number, n_steps, "midpoint")[0] for one in baselines]
            rows.append(sum(parts) / len(parts))
        else:
            slope = gradient(module, image, number)
            rows.append({"input_x_gradient": image * slope, "gradient": slope, "saliency": slope.abs()}[attribution])
    return torch.stack(rows)


def definitions(matrix, chosen):
    """Equations 1 to 3 over the chosen classes: importance and individual effects."""
    rows = [matrix[number].flatten().tolist() for number in chosen]
    n_classes, n_features = len(rows), len(rows[0])
    centred = [[row[i] - sum(other[i] for other in rows) / n_classes for i in range(n_features)] for row in rows]
    individual, importance = [], []
    for i in range(n_features):
        individual.append(sum(row[i] ** 2 for row in centred))
        others = sum(row[i] * row[s] for s in range(n_features) if s != i for row in centred)
        importance.append(individual[i] + others)
    return (
        torch.tensor(importance, dtype=torch.float64).view(matrix.shape[1:]),
        torch.tensor(individual, dtype=torch.float64).view(matrix.shape[1:]),
    )


def proposition_4(matrix):
    """Equation 4: the co-variation of all features at once."""
    rows = matrix.flatten(1)
    centred = rows - rows.mean(0)
    sums = rows.sum(1) - rows.sum() / len(rows)
    return (centred * (sums.unsqueeze(1) - centred)).sum(0).view(matrix.shape[1:])


def variation(outputs):
    """Definition 2."""
    values = [float(output) for output in outputs]
    return sum((value - sum(values) / len(values)) ** 2 for value in values)


def algorithm_1(std_map, radius, threshold):
    """The silhouette of one map ``(channels, height, width)``."""
    channels, height, width = std_map.shape
    values, kept = std_map.tolist(), torch.zeros_like(std_map)
    for k in range(channels):
        for i in range(height):
            for j in range(width):
                for row in range(max(0, i - radius), min(height, i + radius + 1)):
                    for column in range(max(0, j - radius), min(width, j + radius + 1)):
                        if _ratio(values[k][i][j], values[k][row][column]) >= threshold:
                            kept[k, i, j] = std_map[k, i, j]
    return kept


def _ratio(upper, lower):
    if lower != 0:
        return upper / lower
    return math.inf if upper > 0 else math.nan
