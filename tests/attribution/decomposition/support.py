"""A small classifier with pooled features, and images of classes that differ."""

import torch
from torch import nn

import attribution

K, D, SHAPE = 4, 12, (3, 8, 8)


def module(seed=0, dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = nn.Sequential(
            nn.Conv2d(3, D, 3, padding=1, bias=False),
            nn.BatchNorm2d(D),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(D, K),
        )
        built[1].running_mean.normal_(std=0.2)
    return _fitted(built.double()).to(dtype)


def spatial_module(dtype=torch.float64):
    """Ends as SqueezeNet does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        built = nn.Sequential(
            nn.Conv2d(3, D, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(D, K, 1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Flatten(),
        )
    return _fitted(built.double(), 3).to(dtype)


def _fitted(built, place=-1):
    """Lets the final layer score classes by how near their mean features are, so that it is mostly right."""
    images, labels = data(80, seed=77)
    with torch.no_grad():
        values = built.eval()[:place](images)
        pooled = values.mean((2, 3)) if values.dim() == 4 else values
        means = torch.stack([pooled[labels == number].mean(0) for number in range(K)])
        means -= means.mean(0)
        built[place].weight.copy_(means.view(built[place].weight.shape))
        # Above zero, so that a ReLU behind it has something to pass on.
        built[place].bias.copy_(1 - means @ pooled.mean(0) - means.square().sum(1) / 2)
    return built.train()


def network(**options):
    return attribution.Network(module(**options), SHAPE)


def data(n_images=48, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_images) % K
    patterns = torch.randn(K, 3, 1, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    noise = torch.randn(n_images, *SHAPE, generator=generator, dtype=torch.float64)
    return (1.2 * patterns[labels] + 0.5 * noise[:, :, :1, :1] + noise).to(dtype), labels


def batches(size=16, **options):
    images, labels = data(**options)
    return list(zip(images.split(size), labels.split(size), strict=True))


def features(of, images):
    """The input of the last layer, by running what comes before it."""
    with torch.no_grad():
        return of.eval()[:-1](images)
