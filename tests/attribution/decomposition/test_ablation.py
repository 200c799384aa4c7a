import hashlib

import pytest
import torch

import attribution
from attribution import ablate, influential_features
from attribution.decomposition.ablation import image_noise
from attribution.errors import InvalidOption
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


def noise_of(image, seed):
    digest = hashlib.blake2b(image.numpy().tobytes(), digest_size=8, salt=seed.to_bytes(8, "little")).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") // 2)
    return torch.randn(D, generator=generator, dtype=torch.float64)


def slow_counts(influential, replace, noise, seed):
    """Image by image and feature by feature."""
    images, labels = data()
    last, right = module()[-1], [0] * K
    for image, label in zip(images, labels.tolist(), strict=True):
        values = features(module(), image.unsqueeze(0))[0].tolist()
        drawn = noise_of(image, seed).tolist() if noise == "gaussian" else [0.0] * D
        own = influential.indices[label].tolist()
        goes = [index in own for index in range(D)] if replace == "influential" else [i not in own for i in range(D)]
        changed = [new if gone else old for old, new, gone in zip(values, drawn, goes, strict=True)]
        scores = [
            offset + sum(w * z for w, z in zip(row, changed, strict=True))
            for row, offset in zip(last.weight.tolist(), last.bias.tolist(), strict=True)
        ]
        right[label] += scores.index(max(scores)) == label
    return right


@pytest.mark.parametrize("replace", ["influential", "others"])
@pytest.mark.parametrize("noise", ["gaussian", "zero"])
def test_it_equals_a_slow_loop(replace, noise):
    influential = influential_features(network(), batches(), n_initial=3, n_features=3)
    found = ablate(network(), influential, batches(), replace=replace, noise=noise, seed=5)
    assert found.other.tolist() == slow_counts(influential, replace, noise, 5)
    assert found.images.tolist() == [12] * K
    images, labels = data()
    assert int(found.full.sum()) == int((network()(images).argmax(1) == labels).sum())


def test_batches_order_and_shards_do_not_change_the_noise():
    influential = influential_features(network(), batches(), n_initial=3, n_features=6)
    whole = ablate(network(), influential, batches(48))
    shards = [ablate(network(), influential, [part], chunk_size=2) for part in reversed(batches(5))]
    merged = shards[0]
    for shard in shards[1:]:
        merged = merged.merge(shard)
    assert torch.equal(merged.other, whole.other)
    assert torch.equal(merged.agreed, whole.agreed)


def test_the_noise_is_standard_normal_and_of_the_seed_and_the_image_alone():
    images, _ = data(400)
    rows = torch.zeros(400, 50, dtype=torch.float64)
    drawn = image_noise(rows, images, 0)
    count = drawn.numel()
    assert abs(float(drawn.mean())) < 4 / count**0.5
    assert abs(float(drawn.var()) - 1) < 4 * (2 / count) ** 0.5
    assert torch.equal(image_noise(rows[:3], images[[7, 2, 5]], 0), drawn[[7, 2, 5]])
    assert not torch.equal(image_noise(rows, images, 1), drawn)
    channels_last = images.to(memory_format=torch.channels_last)
    assert torch.equal(image_noise(rows, channels_last, 0), drawn)


def test_replacing_nothing_changes_nothing():
    everything = influential_features(network(), batches(), n_features=D)
    found = ablate(network(), everything, batches(), replace="others")
    assert torch.equal(found.other, found.full)
    gone = ablate(network(), everything, batches(), replace="influential", noise="zero")
    assert int(gone.other.sum()) == 12


def test_features_with_positions_get_one_number_each():
    full, (images, labels) = attribution.Network(spatial_module(), SHAPE), data()
    influential = influential_features(full, [(images, labels)], n_initial=3, n_features=3)
    found = ablate(full, influential, [(images, labels)], seed=2)
    right = 0
    for image, label in zip(images, labels.tolist(), strict=True):
        with torch.no_grad():
            values = spatial_module().eval()[:3](image.unsqueeze(0))
            own = influential.indices[label]
            values[0, own] = noise_of(image, 2)[own].view(-1, 1, 1)
            right += int(spatial_module().eval()[3:](values).argmax()) == label
    assert int(found.other.sum()) == right


@pytest.mark.parametrize(
    ("options", "message"),
    [({"replace": "all"}, "replace is 'all'"), ({"noise": "uniform"}, "noise is"), ({"seed": -1}, "seed is -1")],
)
def test_bad_options_are_refused(options, message):
    influential = influential_features(network(), batches())
    with pytest.raises(InvalidOption, match=message):
        ablate(network(), influential, batches(), **options)
