import pytest
import torch

import attribution
from attribution import chosen_features, decompose, evaluate, feature_histogram, influential_features, sweep, swept
from attribution.errors import InvalidInput, InvalidOption
from tests.attribution.decomposition.support import SHAPE, D, K, batches, data, module, network, spatial_module


def right(logits, labels):
    return [int(((logits.argmax(1) == labels) & (labels == number)).sum()) for number in range(K)]


def test_counts_are_those_of_both_modules():
    influential, (images, labels) = influential_features(network(), batches(), n_features=2), data(40, seed=3)
    decomposed = decompose(network(), influential)
    pairs = list(zip(images.split(7), labels.split(7), strict=True))
    with torch.no_grad():
        full, other = network()(images), decomposed(images)
    for given in (influential, decomposed):
        found = evaluate(network(), given, pairs)
        assert found.full.tolist() == right(full, labels)
        assert found.other.tolist() == right(other, labels)
        assert int(found.agreed.sum()) == int((full.argmax(1) == other.argmax(1)).sum())
        assert found.images.tolist() == [10, 10, 10, 10]
        assert found.ratio == pytest.approx(found.accuracy / found.full_accuracy)
        assert found.standard_error == pytest.approx((found.accuracy * (1 - found.accuracy) / 40) ** 0.5)


def test_in_bfloat16_all_features_give_the_full_network():
    # Rounded logits are often equal, and then two networks that agree would be counted as two that differ.
    full = attribution.Network(module(dtype=torch.float32), SHAPE)
    pairs = batches(n_images=400, dtype=torch.float32)
    whole = influential_features(full, pairs, n_features=D, precision="bfloat16")
    found = evaluate(full, whole, pairs, precision="bfloat16")
    assert int(found.agreed.sum()) == 400
    exact = evaluate(full, whole, pairs)
    assert abs(found.full_accuracy - exact.full_accuracy) < 0.02
    state, rounded = feature_histogram(full, pairs), feature_histogram(full, pairs, precision="bfloat16")
    assert not torch.equal(state.sums, rounded.sums)
    assert torch.allclose(state.sums, rounded.sums, rtol=0.01)
    assert sweep(full, pairs, n_features=(D,), precision="bfloat16").correct[0, 0].tolist() == found.full.tolist()


def test_evaluations_of_shards_add_up():
    influential = influential_features(network(), batches(), n_features=2)
    whole = evaluate(network(), influential, batches())
    one, two, three = (evaluate(network(), influential, [part]) for part in batches())
    merged = three.merge(one.merge(two))
    assert all(torch.equal(own, other) for own, other in zip(merged, whole, strict=True))
    assert int(merged.images.sum()) == 48


def test_nothing_right_gives_no_ratio():
    images, labels = data(8)
    wrong = (network()(images).argmax(1) + 1) % K
    found = evaluate(network(), influential_features(network(), [(images, labels)], n_features=D), [(images, wrong)])
    assert found.full_accuracy == 0
    assert found.ratio != found.ratio


@pytest.mark.parametrize("build", [module, spatial_module])
@pytest.mark.parametrize("own_validation", [False, True])
def test_a_sweep_is_each_setting_fitted_and_evaluated(build, own_validation):
    full = attribution.Network(build(), SHAPE)
    validation = batches(9, seed=4, n_images=20) if own_validation else None
    found = sweep(full, batches(), n_initial=(1, 4), n_features=(2, 5, D), validation=validation)
    for row, size in enumerate((1, 4)):
        for column, width in enumerate((2, 5, D)):
            fitted = influential_features(full, batches(), n_initial=size, n_features=width)
            single = evaluate(full, fitted, validation or batches())
            assert found.correct[row, column].tolist() == single.other.tolist()
            assert float(found.accuracy[row, column]) == pytest.approx(single.accuracy)
            assert float(found.ratio[row, column]) == pytest.approx(single.ratio)
    assert found.full.tolist() == evaluate(full, fitted, validation or batches()).full.tolist()
    assert found.correct[:, 0].tolist() != found.correct[:, 2].tolist()


def test_a_sweep_over_its_own_images_reads_them_once():
    reads = []

    def once():
        for pair in batches():
            reads.append(len(pair[0]))
            yield pair

    sweep(network(), once(), n_initial=(1, 3), n_features=(1, 2))
    assert sum(reads) == 48


def test_sweeps_of_shards_add_up():
    histogram = feature_histogram(network(), batches(), n_initial=(1, 3))
    whole = sweep(network(), batches(), n_initial=(1, 3), n_features=(1, 2))
    one, two, three = (swept(network(), histogram, [part], n_features=(1, 2)) for part in batches())
    merged = two.merge(three).merge(one)
    assert torch.equal(merged.correct, whole.correct)
    assert torch.equal(merged.full, whole.full)
    assert merged.images.tolist() == [12] * K
    with pytest.raises(InvalidInput, match="use the same settings"):
        whole.merge(swept(network(), histogram, batches(), n_features=(1, 3)))


def test_progress_goes_on_from_the_fit_to_the_validation():
    told = []
    sweep(
        network(),
        batches(),
        n_initial=(2,),
        n_features=(1,),
        validation=batches(),
        n_images=96,
        progress=lambda *numbers: told.append(numbers),
    )
    assert told == [(16 * number, 96) for number in range(1, 7)]


def test_bad_settings_are_refused_before_the_data_is_read():
    with pytest.raises(InvalidOption, match="n_features is 13"):
        sweep(network(), (pytest.fail("read") for _ in range(1)), n_features=(1, 13), n_initial=(1,))
    with pytest.raises(InvalidOption, match="n_initial is 13"):
        sweep(network(), (pytest.fail("read") for _ in range(1)), n_features=(1,), n_initial=(13,))


def test_features_fitted_elsewhere_are_refused():
    few = chosen_features(attribution.FeatureHistogram(K + 1, D, (5,)), n_features=D)
    with pytest.raises(InvalidInput, match="fit it on this network"):
        evaluate(network(), few, batches())
