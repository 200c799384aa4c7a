import itertools

import pytest
import torch

from attribution import FeatureHistogram
from attribution.errors import InvalidInput, InvalidOption, InvalidTarget
from tests.attribution.methods import slow_decomposition as slow

K, D = 5, 11
SIZES = (1, 3, 11)


def values(n_images=40, seed=0):
    """Rounded, so that there are many ties, zeros and negative values."""
    generator = torch.Generator().manual_seed(seed)
    features = (2 * torch.randn(n_images, D, generator=generator, dtype=torch.float64)).round()
    return features, torch.randint(0, K - 1, (n_images,), generator=generator)


def counted(features, labels, sizes=SIZES):
    histogram = FeatureHistogram(K, D, sizes)
    histogram.update(features, labels)
    return histogram


def test_it_equals_a_slow_loop():
    features, labels = values()
    found = counted(features, labels)
    for size in SIZES:
        assert found.frequencies(size).tolist() == slow.histogram(features.tolist(), labels.tolist(), K, size)
    assert torch.allclose(found.sums, torch.tensor(slow.absolute_sums(features.tolist(), labels.tolist(), K)).double())
    assert found.images.tolist() == [labels.tolist().count(label) for label in range(K)]
    assert int(found.images[-1]) == 0


def test_several_sizes_at_once_are_each_what_it_is_alone():
    features, labels = values()
    together = counted(features, labels)
    for size in SIZES:
        assert torch.equal(counted(features, labels, (size,)).counts[0], together.frequencies(size))


def test_shards_merged_in_any_order_equal_one_pass():
    features, labels = values()
    whole = counted(features, labels)
    cuts = [(0, 7), (7, 8), (8, 29), (29, 40)]
    shards = [counted(features[start:stop], labels[start:stop]) for start, stop in cuts]
    for order in itertools.permutations(shards):
        merged = order[0].merge(order[1]).merge(order[2].merge(order[3]))
        assert torch.equal(merged.counts, whole.counts)
        assert torch.equal(merged.images, whole.images)
        assert torch.allclose(merged.sums, whole.sums, rtol=1e-14, atol=0)


def test_merging_leaves_both_as_they_were():
    features, labels = values()
    one, two = counted(features, labels), counted(features, labels)
    before = one.counts.clone()
    merged = one.merge(two)
    two.update(features, labels)
    assert torch.equal(one.counts, before)
    assert torch.equal(merged.counts, 2 * before)


def test_it_survives_being_stored():
    whole = counted(*values())
    again = FeatureHistogram.from_bytes(whole.to_bytes())
    assert again.n_initial == whole.n_initial
    for name, tensor in whole.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)
    assert again.to_bytes() == whole.to_bytes()
    assert torch.equal(again.merge(whole).counts, 2 * whole.counts)


def test_what_does_not_fit_is_refused_and_changes_nothing():
    histogram = counted(*values())
    before = histogram.to_bytes()
    features, labels = values()
    with pytest.raises(InvalidTarget, match="from 0 to 5, the network has the classes 0 to 4"):
        histogram.update(features, torch.cat([labels[1:], torch.tensor([K])]))
    with pytest.raises(InvalidTarget, match=r"int64 \(40,\)"):
        histogram.update(features, labels.float())
    with pytest.raises(InvalidInput, match=r"\(n, 11\)"):
        histogram.update(features[:, :3], labels)
    with pytest.raises(InvalidInput, match="cannot merge"):
        histogram.merge(counted(features, labels, (2,)))
    assert histogram.to_bytes() == before


@pytest.mark.parametrize("sizes", [(), (0,), (12,), (True,)])
def test_sizes_out_of_range_are_refused(sizes):
    with pytest.raises(InvalidOption, match="n_initial"):
        FeatureHistogram(K, D, sizes)


def test_a_size_that_was_not_counted_is_refused():
    with pytest.raises(InvalidOption, match="n_initial is 2, this histogram was counted for 1, 3, 11"):
        counted(*values()).frequencies(2)


def test_bytes_of_something_else_are_refused():
    with pytest.raises(InvalidInput, match="no safetensors file"):
        FeatureHistogram.from_bytes(b"PK\x03\x04 an archive, not tensors")
    tensors = counted(*values()).tensors()
    with pytest.raises(InvalidInput, match="a histogram holds"):
        FeatureHistogram.from_tensors(tensors | {"counts": tensors["counts"].int()})
    with pytest.raises(InvalidInput, match="counts has shape"):
        FeatureHistogram.from_tensors(tensors | {"counts": tensors["counts"][:2]})
