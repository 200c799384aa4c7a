"""The decomposition of the final layer in plain loops over numbers, from the paper's Algorithm 1 and its sections."""


def largest(values, count):
    """Indices of the largest absolute values; of equal ones the lower index."""
    left = list(range(len(values)))
    chosen = []
    for _ in range(count):
        best = left[0]
        for index in left[1:]:
            if abs(values[index]) > abs(values[best]):
                best = index
        left.remove(best)
        chosen.append(best)
    return chosen


def histogram(features, labels, n_classes, n_initial):
    table = [[0] * len(features[0]) for _ in range(n_classes)]
    for values, label in zip(features, labels, strict=True):
        for index in largest(values, n_initial):
            table[label][index] += 1
    return table


def absolute_sums(features, labels, n_classes):
    table = [[0.0] * len(features[0]) for _ in range(n_classes)]
    for values, label in zip(features, labels, strict=True):
        for index, value in enumerate(values):
            table[label][index] += abs(value)
    return table


def covering(sums, share):
    """The fewest features that hold a share of a class, by trying 1, 2, ... of the largest."""
    for count in range(1, len(sums) + 1):
        chosen = largest(sums, count)
        if sum(sums[index] for index in chosen) >= share * sum(sums) * (1 - 1e-12):
            return chosen
    raise AssertionError("all features hold everything")


def logits(values, weight, bias, kept):
    """Scores of one image by the features kept of each class."""
    scores = []
    for row, offset, indices in zip(weight, bias, kept, strict=True):
        scores.append(offset + sum(row[index] * values[index] for index in indices if index >= 0))
    return scores
