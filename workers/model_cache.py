"""Loaded networks, so that the next job of the same model starts at once."""

import gc
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch

from attribution.networks.network import Network
from attribution_contracts.base import Sha256


@dataclass(frozen=True)
class CacheCounts:
    """What the cache has done and holds."""

    hits: int
    misses: int
    evictions: int
    models: int
    bytes: int


def chosen_device(device: str) -> torch.device:
    """The device of a setting; `auto` is a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


class ModelCache:
    """Keeps the networks that were used last, up to a number of them and of bytes.

    One larger than the bound in bytes is kept alone, until the next one comes.
    """

    def __init__(self, max_models: int, max_bytes: int, device: str = "auto") -> None:
        self.max_models = max_models
        self.max_bytes = max_bytes
        self.device = chosen_device(device)
        self._loaded: OrderedDict[Sha256, Network] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    def get(self, key: Sha256, load: Callable[[], Network], needed: int = 0) -> Network:
        """The network that is kept under a digest; where there is none, `load` makes it on the cache's `device`.

        Room is made for the `needed` bytes first, so that the new network is never in memory beside those that have to
        go for it. Whatever `load` raises passes through; the cache is then without what went.
        """
        if key in self._loaded:
            self._hits += 1
            self._loaded.move_to_end(key)
            return self._loaded[key]
        self._misses += 1
        self._make_room(needed)
        network = load()
        self._make_room(network.n_bytes)  # where it is larger than was known
        self._loaded[key] = network
        return network

    @property
    def counts(self) -> CacheCounts:
        """Hits, misses and evictions so far, and what is held now."""
        return CacheCounts(self._hits, self._misses, self._evictions, len(self._loaded), self._bytes)

    @property
    def _bytes(self) -> int:
        return sum(network.n_bytes for network in self._loaded.values())

    def _make_room(self, needed: int) -> None:
        evicted = 0
        while self._loaded and (len(self._loaded) >= self.max_models or self._bytes + needed > self.max_bytes):
            self._loaded.popitem(last=False)
            evicted += 1
        if evicted:
            self._evictions += evicted
            gc.collect()  # a traced graph and its nodes refer to each other: counting references never frees them
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
