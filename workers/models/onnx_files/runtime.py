"""onnxruntime, held to one thread, to so many bytes, and to what the file itself says."""

from pathlib import Path

import onnxruntime

from workers.problems import InvalidModel

_SILENT = 4
_EXACT_REQUESTS = 1
"""The arena grows by what is asked of it, and not by powers of two."""


def session_of(path: Path, max_bytes: int) -> onnxruntime.InferenceSession:
    """A file that is ready to run.

    Args:
        path: Of the file, which is not needed afterwards.
        max_bytes: For all that it computes at a time; weights are not counted.

    Raises:
        InvalidModel: onnxruntime does not take it.
    """
    _use_arena_of(max_bytes)
    try:
        return onnxruntime.InferenceSession(
            str(path),
            _options(),
            providers=["CPUExecutionProvider"],
            # It would compute what follows from constants alone, outside of the arena.
            disabled_optimizers=["ConstantFolding"],
        )
    except Exception as error:  # its errors have no ancestor of their own
        raise InvalidModel(f"onnxruntime refuses the ONNX file: {first_line(error)}") from error


def run_options() -> onnxruntime.RunOptions:
    """For one run, which gives all that it computed back: a network that waits in the cache holds its weights alone."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = _SILENT
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def first_line(error: Exception) -> str:
    """What an error says, without the traces that follow."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:400]


def _use_arena_of(max_bytes: int) -> None:
    """Lets the next session allocate from an arena of its own, which ends with it."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    bounds = onnxruntime.OrtArenaCfg({"max_mem": max_bytes, "arena_extend_strategy": _EXACT_REQUESTS})
    onnxruntime.create_and_register_allocator(memory, bounds)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options
