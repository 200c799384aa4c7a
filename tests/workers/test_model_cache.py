"""Which networks stay loaded, and that the others are gone."""

import weakref

import pytest
import torch
from torch import nn

from attribution.networks.network import Network
from workers.model_cache import ModelCache, byte_count, chosen_device

BYTES = 4 * (3 * 4 + 4)


def network():
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(3, 4)), input_shape=(3, 1, 1))


def bomb():
    raise AssertionError("loaded again")


def test_a_network_is_loaded_once():
    cache = ModelCache(2, 10**6, "cpu")
    first = cache.get("a", network)
    assert cache.get("a", bomb) is first
    assert (cache.counts.hits, cache.counts.misses, cache.counts.models, cache.counts.bytes) == (1, 1, 1, BYTES)


def test_the_least_recently_used_goes_first():
    cache = ModelCache(2, 10**6, "cpu")
    first = cache.get("a", network)
    cache.get("b", network)
    assert cache.get("a", bomb) is first
    cache.get("c", network)
    assert cache.counts.evictions == 1
    assert cache.get("a", bomb) is first
    assert cache.get("b", network) is not None
    assert cache.counts.misses == 4


def test_the_bound_in_bytes_holds():
    cache = ModelCache(100, 3 * BYTES, "cpu")
    for digest in "abcde":
        cache.get(digest, network)
        assert cache.counts.bytes <= 3 * BYTES
    assert (cache.counts.models, cache.counts.evictions) == (3, 2)


def test_one_larger_than_the_bound_is_kept_alone():
    cache = ModelCache(4, BYTES - 1, "cpu")
    cache.get("a", network)
    large = cache.get("b", network)
    assert cache.counts.models == 1
    assert cache.get("b", bomb) is large


def test_a_failed_load_changes_nothing():
    cache = ModelCache(1, 10**6, "cpu")
    kept = cache.get("a", network)
    with pytest.raises(AssertionError, match="loaded again"):
        cache.get("b", bomb)
    assert cache.get("a", bomb) is kept


def test_what_is_evicted_is_freed():
    cache = ModelCache(1, 10**6, "cpu")
    cache.get("a", network)
    tensors = [weakref.ref(tensor) for tensor in cache.get("a", bomb).module.parameters()]
    modules = [weakref.ref(module) for module in cache.get("a", bomb).module.modules()]
    graph = weakref.ref(cache.get("a", bomb).graph)
    assert all(reference() is not None for reference in [*tensors, *modules, graph])
    cache.get("b", network)
    assert [reference() for reference in [*tensors, *modules, graph]] == [None] * (len(tensors) + len(modules) + 1)


def test_bytes_are_those_of_parameters_and_buffers():
    assert byte_count(network()) == BYTES
    assert byte_count(Network(nn.Sequential(nn.BatchNorm2d(2), nn.Flatten()), (2, 1, 1))) == 4 * 4 * 2 + 8


def test_the_device_of_a_setting():
    assert chosen_device("cpu") == torch.device("cpu")
    assert chosen_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert chosen_device("cuda:1") == torch.device("cuda", 1)
