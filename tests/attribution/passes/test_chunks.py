import pytest
import torch

from attribution.errors import InvalidOption, OutOfMemory
from attribution.memory import fitted_chunk, is_out_of_memory
from attribution.passes.chunks import Chunks


def test_covers_everything_once_and_tells_the_progress():
    seen, told = [], []
    chunks = Chunks(4, total=10, progress=lambda done, total: told.append((done, total)))
    chunks.run(10, lambda start, stop: seen.extend(range(start, stop)))
    assert seen == list(range(10))
    assert told == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError("not enough memory")])
def test_halves_and_goes_on_from_where_it_was(error):
    seen = []

    def work(start, stop):
        if stop - start > 3:
            raise error
        seen.extend(range(start, stop))

    chunks = Chunks(16, total=20)
    chunks.run(20, work)
    assert seen == list(range(20))
    assert chunks.size == 2


def test_one_item_too_large_is_an_error_of_the_engine():
    def work(start, stop):
        raise MemoryError

    with pytest.raises(OutOfMemory, match="one point does not fit"):
        Chunks(4, total=4).run(4, work)


def test_other_errors_and_cancelling_pass_through():
    def work(start, stop):
        raise RuntimeError("shape mismatch")

    def stop_it(done, total):
        raise KeyError("cancelled")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        Chunks(4, total=4).run(4, work)
    with pytest.raises(KeyError):
        Chunks(4, total=4, progress=stop_it).run(4, lambda start, stop: None)


def test_a_real_failed_allocation_is_recognised():
    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**50)
    assert is_out_of_memory(failure.value)


@pytest.mark.parametrize("size", [0, -1, True, 2.0, None])
def test_chunk_size_must_be_a_count(size):
    with pytest.raises(InvalidOption, match="chunk_size"):
        Chunks(size, total=1)


def test_fitted_chunks_are_within_bounds():
    cpu = torch.device("cpu")
    assert fitted_chunk(2**40, cpu) == 1
    assert 1 < fitted_chunk(1, cpu) <= 512
