"""The most memory held at once."""

import resource
import sys

import torch

#: What getrusage counts in.
_UNIT = 1 if sys.platform == "darwin" else 1024


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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
