"""Which networks stay loaded, and that the others are gone."""

import weakref

import pytest
import torch
from torch import nn

from attribution.networks.network import Network
from tests.workers import own_networks
from tests.workers.through_http import picture, weights_of
from workers.model_cache import ModelCache, chosen_device
from workers.models import inputs

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


def test_after_a_failed_load_the_cache_goes_on():
    cache = ModelCache(2, 10**6, "cpu")
    kept = cache.get("a", network)
    for wrong in (AssertionError, MemoryError, KeyboardInterrupt):

        def load(wrong=wrong):
            raise wrong

        with pytest.raises(wrong):
            cache.get("b", load, BYTES)
    assert cache.get("a", bomb) is kept
    assert (cache.counts.models, cache.counts.bytes, cache.counts.evictions) == (1, BYTES, 0)
    cache.get("b", network, BYTES)
    assert cache.counts.models == 2


def parts_of(kept):
    """What shows whether a network is in memory."""
    return [weakref.ref(part) for part in [*kept.module.parameters(), *kept.module.modules(), kept.graph]]


@pytest.mark.parametrize(("models", "bytes_", "needed"), [(1, 10**6, BYTES), (1, 10**6, 0), (9, 2 * BYTES - 1, BYTES)])
def test_what_has_to_go_is_gone_before_the_next_is_loaded(models, bytes_, needed):
    cache = ModelCache(models, bytes_, "cpu")
    parts = parts_of(cache.get("a", network))
    assert all(part() is not None for part in parts)

    def load():
        assert [part() for part in parts] == [None] * len(parts)
        return network()

    cache.get("b", load, needed)
    assert (cache.counts.models, cache.counts.evictions) == (1, 1)


def test_what_may_stay_stays():
    cache = ModelCache(9, 2 * BYTES, "cpu")
    kept = cache.get("a", network)
    cache.get("b", network, BYTES)
    assert cache.get("a", bomb) is kept


def test_one_larger_than_was_known_makes_room_when_it_is_there():
    cache = ModelCache(9, 2 * BYTES - 1, "cpu")
    parts = parts_of(cache.get("a", network))
    cache.get("b", network, 1)
    assert [part() for part in parts] == [None] * len(parts)
    assert cache.counts.bytes == BYTES


def test_a_job_makes_room_by_what_its_models_check_told(through, monkeypatch):
    torch.manual_seed(0)
    for name in ("one", "two"):
        report = through.ready(name, "factory:small", weights_of(own_networks.small()))
    known = report["weight_bytes"]
    assert known == sum(tensor.nbytes for tensor in own_networks.small().parameters())
    cache = through.context.models = ModelCache(9, 2 * known - 1, "cpu")
    job, _ = through.explain("one", picture(), n_steps=2)
    assert (job["status"], cache.counts.models) == ("succeeded", 1)
    [kept], build, alive = cache._loaded.values(), inputs.build_network, []
    parts = parts_of(kept)
    del kept

    def seen(*given):
        alive.append([part() for part in parts if part() is not None])
        return build(*given)

    monkeypatch.setattr(inputs, "build_network", seen)
    job, _ = through.explain("two", picture(), n_steps=2)
    assert (job["status"], alive, cache.counts.models) == ("succeeded", [[]], 1)


def test_bytes_are_those_of_parameters_and_buffers():
    assert network().n_bytes == BYTES
    assert Network(nn.Sequential(nn.BatchNorm2d(2), nn.Flatten()), (2, 1, 1)).n_bytes == 4 * 4 * 2 + 8


def test_the_device_of_a_setting():
    assert chosen_device("cpu") == torch.device("cpu")
    assert chosen_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert chosen_device("cuda:1") == torch.device("cuda", 1)
