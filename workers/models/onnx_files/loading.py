"""From an ONNX file to a module that is known by its outputs."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from attribution.errors import OverBudget
from attribution.networks.outputs_only import OutputsOnly
from workers.models.onnx_files.outline import read_outline
from workers.models.onnx_files.runtime import first_line, run_options, session_of
from workers.models.onnx_files.verdict import TOO_MUCH, Answer, Judged, Question, seconds
from workers.problems import InvalidModel

MAX_FILE_BYTES = 2 * 1024**3 - 1
"""What protobuf takes; larger models come in several files, which are refused."""

_NO_MEMORY = ("is smaller than requested bytes", "bad allocation", "Failed to allocate memory")
"""What onnxruntime says where its arena, or the machine, has no room for a value."""


_PATIENCE = 6
"""Times the processor time that judging may take: that the worker waits for it on a machine with other work."""


def judged(question: Question, *, patience_s: float | None = None) -> Judged:
    """Has a file judged: by its outline here, and by all else in a process that is held to some memory and time.

    Args:
        question: The file, and what is expected of it.
        patience_s: How long that process may take, whatever it does; some times its processor time unless told.

    Raises:
        InvalidModel: It is refused, or that process did not live to see the end of it.
        RuntimeError: That process cannot start.
    """
    path = Path(question.path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InvalidModel(f"the ONNX file has {size:,} bytes, at most {MAX_FILE_BYTES:,} are possible in one file")
    read_outline(path)
    command = [sys.executable, "-P", "-m", "workers.models.onnx_files.judging"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("ATTRIBUTION_")}
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            input=question.model_dump_json().encode(),
            capture_output=True,
            check=False,
            env=own,
            timeout=_PATIENCE * seconds(size) if patience_s is None else patience_s,
        )
    except subprocess.TimeoutExpired as error:  # it was killed
        raise InvalidModel(TOO_MUCH) from error
    if done.returncode > 0:
        raise RuntimeError(f"the process that judges ONNX files ended with {done.returncode}: {done.stderr.decode()}")
    if done.returncode < 0:  # a signal: out of memory, or of time
        raise InvalidModel(TOO_MUCH)
    answer = Answer.model_validate_json(done.stdout)
    if answer.judged is None:
        raise InvalidModel(answer.refused or "")
    return answer.judged


def load_onnx(path: Path, found: Judged, max_bytes: int) -> OutputsOnly:
    """The classifier of a file that was judged.

    Args:
        path: Of the file, which is not needed afterwards.
        found: What it was judged to be.
        max_bytes: For all that it computes at a time; weights are not counted.

    Raises:
        InvalidModel: onnxruntime does not take it.
    """
    session, axes = session_of(path, max_bytes), (0, 2, 3, 1) if found.is_channels_last else (0, 1, 2, 3)

    def outputs(image: torch.Tensor) -> torch.Tensor:
        try:
            [values] = session.run(None, {found.input: image.permute(axes).contiguous().numpy()}, run_options())
        except Exception as error:
            said = str(error)
            if any(message in said for message in _NO_MEMORY):
                raise OverBudget(
                    f"what the ONNX file computes for one image of {tuple(image.shape[1:])} takes more than the"
                    f" {max_bytes / 2**30:.1f} GiB that are allowed (ATTRIBUTION_CHECK_BYTES): use a smaller size"
                ) from error
            raise RuntimeError(f"onnxruntime: {first_line(error)}") from error
        return torch.from_numpy(values)

    return OutputsOnly(outputs, kind="ONNX", n_parameters=found.parameters, n_bytes=found.n_bytes)
