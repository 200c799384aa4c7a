"""A small classifier that the fault tests register over HTTP."""

import io

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from attribution.architectures import mnist_cnn
from attribution_client import Client
from tests.e2e.served import PATIENCE_S

SIDE = 12
MODEL = {
    "name": "net",
    "architecture": "mnist_cnn",
    "weights": {"part": "weights"},
    "preprocessing": {"color": "grey", "size": [SIDE, SIDE]},
    "labels": [str(digit) for digit in range(10)],
}


def register_net(client: Client) -> None:
    """Registers the classifier `net` with random weights, and waits until it is ready."""
    torch.manual_seed(0)
    client.register_model(MODEL, weights=save(mnist_cnn(1, 10, (SIDE, SIDE)).state_dict()))
    assert client.wait_for_model("net", timeout=PATIENCE_S).state == "ready"


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Grey images of noise, `(count, SIDE, SIDE)` bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
