"""Memory: how much there is for a chunk, whether it ran out, and the most that was held at once."""

import resource
import sys

import torch

from attribution.errors import OutOfMemory

_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory", "failed to allocate")

#: On a CPU small chunks are the fast ones: their activations stay near the caches.
_CPU_BYTES = 256 * 2**20
_ACCELERATOR_SHARE = 0.5
_LARGEST_CHUNK = 512
#: What getrusage counts in.
_RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception says that memory ran out; torch's CPU allocator has no type of its own for it.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"))
    True
    >>> is_out_of_memory(RuntimeError("shape mismatch"))
    False
    """
    if isinstance(error, OutOfMemory):
        return False
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def fitted_chunk(bytes_per_point: int, device: torch.device) -> int:
    """Returns how many points to run at once, from what the activations of one point take.

    >>> fitted_chunk(64 * 2**20, torch.device("cpu"))
    4
    """
    budget = float(_CPU_BYTES)
    if device.type == "cuda":
        budget = _ACCELERATOR_SHARE * torch.cuda.mem_get_info(device)[0]
    return max(1, min(_LARGEST_CHUNK, int(budget // max(1, bytes_per_point))))


def restart_peak(device: torch.device) -> None:
    """Begins to measure anew, where that is possible: on an accelerator."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Returns the tensors' peak on an accelerator since the restart; on a CPU the whole process's since its start.

    >>> peak_bytes(torch.device("cpu")) > 2**20
    True
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RUSAGE_UNIT
