"""Batches of a data set: the same tensors as one image at a time, and never many of them at once."""

import threading
import time

import pytest
import torch

from storage.tables import DEFAULT_TENANT
from tests.workers.pictures import png
from tests.workers.sources import flowers, ingested, pixels, zipped
from workers.datasets import reader as datasets
from workers.datasets.ahead import THREADS, ahead
from workers.datasets.reader import DatasetReader
from workers.images.decoding import decode
from workers.images.preprocessing import preprocess
from workers.problems import InvalidDataset, InvalidImage

FILES = flowers(5) | {"1/large.png": png(pixels(77, side=40))}


@pytest.fixture
def reader(context):
    return DatasetReader(context, DEFAULT_TENANT, ingested(context, zipped(FILES)).sha256)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize(("start", "stop"), [(0, 11), (3, 10), (10, 11), (5, 5)])
def test_batches_are_what_one_by_one_gives(reader, classifier, batch_size, start, stop):
    found = list(reader.batches(classifier.spec, range(start, stop), batch_size=batch_size, device="cpu"))
    assert [position for batch in found for position in batch.positions] == list(range(start, stop))
    assert all(len(batch.positions) == batch_size for batch in found[:-1])
    for batch in found:
        assert (batch.inputs.dtype, batch.labels.dtype) == (torch.float32, torch.int64)
        assert batch.labels.tolist() == [reader.classes[position] for position in batch.positions]
        for row, position in zip(batch.inputs, batch.positions, strict=True):
            picture = decode(FILES[reader.names[position]], "rgb")
            assert torch.equal(row, preprocess(picture, classifier.spec.preprocessing).tensor)


@pytest.mark.parametrize("largest", [1, 900, 2000])
def test_reads_of_any_size_give_the_same(reader, classifier, monkeypatch, largest):
    [whole] = reader.batches(classifier.spec, range(len(reader)), batch_size=20, device="cpu")
    monkeypatch.setattr(datasets, "LARGEST_READ", largest)
    [split] = reader.batches(classifier.spec, range(len(reader)), batch_size=20, device="cpu")
    assert torch.equal(whole.inputs, split.inputs)


def test_what_it_says_of_the_data_set(reader):
    assert (len(reader), sorted(set(reader.classes))) == (11, [0, 1])
    assert reader.names[-1] == "1/large.png"


def test_another_tenants_data_set_is_not_there(context, reader):
    sha256 = ingested(context, zipped(flowers()), "mine").sha256
    with pytest.raises(InvalidDataset, match="register it"):
        DatasetReader(context, "other", sha256)


def test_a_lost_pack_is_told(context, classifier):
    version = ingested(context, zipped(flowers()))
    reader = DatasetReader(context, DEFAULT_TENANT, version.sha256)
    for file in context.settings.resolved_data_dir.glob(f"artifacts/*/{reader._index.pack}"):
        file.unlink()
    with pytest.raises(InvalidDataset, match="not in the artefact store of the worker that looked"):
        next(reader.batches(classifier.spec, [0], batch_size=1, device="cpu"))


def test_an_image_that_does_not_fit_the_model_is_named(context, classifier):
    narrow = png(pixels(0)[:1].repeat(3000, axis=1))
    reader = DatasetReader(context, DEFAULT_TENANT, ingested(context, zipped({"a/narrow.png": narrow})).sha256)
    tall = classifier.spec.preprocessing.model_copy(update={"resize": 4096})
    spec = classifier.spec.model_copy(update={"preprocessing": tall})
    with pytest.raises(InvalidImage, match=r"a/narrow.png: .*too narrow"):
        list(reader.batches(spec, [0], batch_size=1, device="cpu"))


def test_any_order_gives_the_same_images(reader, classifier):
    order = [5, 6, 7, 1, 0, 3]
    [whole] = reader.batches(classifier.spec, range(len(reader)), batch_size=len(reader), device="cpu")
    found = list(reader.batches(classifier.spec, order, batch_size=4, device="cpu"))
    assert [batch.positions for batch in found] == [order[:4], order[4:]]
    assert torch.equal(torch.cat([batch.inputs for batch in found]), whole.inputs[order])
    assert torch.equal(torch.cat([batch.labels for batch in found]), whole.labels[order])


class TestAhead:
    def test_order_is_kept_and_work_is_done_at_once(self):
        together = threading.Barrier(min(2, THREADS), timeout=10)

        def slow_at_first(number):
            if number < min(2, THREADS):
                together.wait()
            time.sleep(0.02 if number == 0 else 0)
            return number * number

        assert list(ahead(slow_at_first, range(20))) == [number * number for number in range(20)]

    def test_it_never_runs_far_ahead(self):
        drawn = []
        items = (drawn.append(number) or number for number in range(1000))
        results = ahead(lambda number: number, items, depth=3)
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert len(drawn) <= 5 + 3
        results.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]

    def test_errors_reach_the_consumer(self):
        with pytest.raises(ZeroDivisionError):
            list(ahead(lambda number: 1 // number, [1, 0, 1]))
