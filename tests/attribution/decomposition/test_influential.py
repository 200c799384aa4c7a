import pytest
import torch

import attribution
from attribution import FeatureHistogram, Influential, chosen_features, feature_histogram, influential_features
from attribution.decomposition.influential import membership, require_indices
from attribution.errors import Cancelled, InvalidInput, InvalidOption, InvalidTarget
from tests.attribution.decomposition.support import (
    SHAPE,
    D,
    K,
    batches,
    data,
    features,
    module,
    network,
    spatial_module,
)
from tests.attribution.methods import slow_decomposition as slow


def slow_rows():
    images, labels = data()
    return features(module(), images).tolist(), labels.tolist()


def test_the_most_frequent_are_chosen():
    found = influential_features(network(), batches(), n_initial=3, n_features=4)
    table = slow.histogram(*slow_rows(), K, 3)
    assert found.histogram.tolist() == table
    assert found.indices.tolist() == [slow.largest(row, 4) for row in table]
    sums = slow.absolute_sums(*slow_rows(), K)
    expected = [sum(row[i] for i in own) / sum(row) for row, own in zip(sums, found.indices.tolist(), strict=True)]
    assert found.coverage.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8, 1.0])
def test_coverage_takes_the_fewest_that_hold_the_share(share):
    found = influential_features(network(), batches(), aggregation="coverage", share=share)
    expected = [slow.covering(row, share) for row in slow.absolute_sums(*slow_rows(), K)]
    assert [[index for index in row if index >= 0] for row in found.indices.tolist()] == expected
    assert bool((found.coverage >= share - 1e-9).all())
    assert found.indices.shape[1] == max(map(len, expected))


def test_coverage_can_be_capped():
    found = influential_features(network(), batches(), aggregation="coverage", share=0.9, n_features=2)
    assert found.indices.shape == (K, 2)


def test_batches_shards_and_their_order_do_not_matter():
    whole = influential_features(network(), batches(48), n_initial=3, n_features=4)
    parts = batches(5)
    shards = [feature_histogram(network(), [part], n_initial=(3,), chunk_size=2) for part in reversed(parts)]
    merged = shards[0]
    for shard in shards[1:]:
        merged = shard.merge(merged)
    again = chosen_features(merged, n_initial=3, n_features=4)
    assert torch.equal(again.histogram, whole.histogram)
    assert torch.equal(again.indices, whole.indices)


def test_pooled_features_of_a_convolutional_head_are_counted():
    images, labels = data()
    found = influential_features(attribution.Network(spatial_module(), SHAPE), [(images, labels)], n_initial=2)
    rows = spatial_module().eval()[:3](images).mean((2, 3)).tolist()
    assert found.histogram.tolist() == slow.histogram(rows, labels.tolist(), K, 2)


def test_negative_features_count_by_their_size():
    histogram = FeatureHistogram(1, 3, (1,))
    histogram.update(torch.tensor([[0.5, -2.0, 1.0]]), torch.tensor([0]))
    assert chosen_features(histogram, n_initial=1, n_features=1).indices.tolist() == [[1]]


def test_a_class_without_images_has_no_features_unless_all_are_kept():
    images, labels = data()
    few = [(images[labels != 2], labels[labels != 2])]
    found = influential_features(network(), few, n_initial=3, n_features=2)
    assert found.indices[2].tolist() == [-1, -1]
    assert bool((found.indices[[0, 1, 3]] >= 0).all())
    assert bool(found.coverage[2].isnan())
    everything = chosen_features(found.state, n_initial=3, n_features=D)
    assert sorted(everything.indices[2].tolist()) == list(range(D))


def test_it_survives_being_stored():
    found = influential_features(network(), batches(), n_initial=3, n_features=2)
    again = Influential.from_bytes(found.to_bytes())
    for one, two in zip(found[:4], again[:4], strict=True):
        assert torch.equal(one, two)
    assert again.n_initial == 3
    assert again.to_bytes() == found.to_bytes()
    with pytest.raises(InvalidInput, match="holds indices"):
        Influential.from_bytes(found.state.to_bytes())


def test_the_module_and_its_images_stay_as_they_were():
    built = module().train()
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    images, labels = data()
    kept = images.clone()
    influential_features(attribution.Network(built), [(images, labels)])
    assert built.training
    assert torch.equal(images, kept)
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


def test_progress_counts_images_and_may_cancel():
    told = []
    influential_features(
        network(), batches(20), chunk_size=8, n_images=48, progress=lambda *numbers: told.append(numbers)
    )
    assert told == [(8, 48), (16, 48), (20, 48), (28, 48), (36, 48), (40, 48), (48, 48)]

    def stop(done, total):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        influential_features(network(), batches(), progress=stop)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_initial": 0}, "n_initial is 0"),
        ({"n_initial": D + 1}, "n_initial is 13"),
        ({"n_features": D + 1}, "n_features is 13"),
        ({"aggregation": "median"}, "aggregation is 'median'"),
        ({"share": 0.5}, "only with aggregation"),
        ({"share": 0.0, "aggregation": "coverage"}, "share is 0"),
        ({"share": 1.1, "aggregation": "coverage"}, "share is 1.1"),
    ],
)
def test_bad_options_are_refused_before_the_data_is_read(options, message):
    with pytest.raises(InvalidOption, match=message):
        influential_features(network(), (pytest.fail("the data was read") for _ in range(1)), **options)


def test_bad_batches_are_refused():
    images, labels = data()
    with pytest.raises(InvalidInput, match="batches is empty"):
        influential_features(network(), [])
    with pytest.raises(InvalidInput, match="float32"):
        influential_features(network(), [(images.float(), labels)])
    with pytest.raises(InvalidTarget, match="0 to 3"):
        influential_features(network(), [(images, labels + 1)])


def test_tables_of_indices_are_checked():
    require_indices(torch.tensor([[0, 2], [1, -1]]), 2, 3)
    for bad, message in [
        (torch.tensor([[0, 3], [1, 2]]), "from 0 to 3"),
        (torch.tensor([[0, 0], [1, 2]]), "twice"),
        (torch.tensor([[0, 1]]), "fit it on this network"),
        (torch.tensor([[0.0], [1.0]]), "float32"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            require_indices(bad, 2, 3)
    assert membership(torch.tensor([[2, -1], [0, 1]]), 3).tolist() == [[False, False, True], [True, True, False]]
