"""Judges an ONNX file, in a process of its own: `python -m workers.models.onnx_files.judging`, a question on stdin.

Parsers and checkers of such files can be made to take any time and memory by files of a few kilobytes. What becomes of
this process is no harm to the worker that started it; it knows no torch, no ledger and no artefact store.
"""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import onnxruntime  # noqa: F401 - before the bounds are set
import psutil

from workers.models.onnx_files.graph import parsed, require_classifier
from workers.models.onnx_files.outline import broken, read_outline
from workers.models.onnx_files.runtime import session_of
from workers.models.onnx_files.tensors import require_tensors
from workers.models.onnx_files.verdict import TOO_MUCH, Answer, Judged, Question, seconds
from workers.problems import InvalidModel

_ROOM, _COPIES = 1024**3, 4
"""Memory for judging: so many bytes, and so many times the file, which the runtime parses, copies and lays out anew."""


def judged(question: Question) -> Judged:
    """What a file is, from its bytes, its graph, and what the runtime says of it; none of it is run.

    Raises:
        InvalidModel: It is no classifier in one file, of ONNX's own operators, that fits the preprocessing.
    """
    path = Path(question.path)
    file, outline = read_outline(path)
    model = parsed(outline.content)
    parameters, n_bytes = require_tensors(model, outline.values, file)
    if parameters > question.max_parameters:
        raise InvalidModel(
            f"the network has {parameters:,} parameters, at most {question.max_parameters:,} are allowed"
        )
    graph = require_classifier(model, question.image, question.max_bytes)
    session_of(path, question.max_bytes)
    return Judged(
        input=graph.input,
        is_channels_last=graph.is_channels_last,
        classes=graph.classes,
        parameters=parameters,
        n_bytes=n_bytes,
    )


def answer_to(question: Question) -> Answer:
    """The verdict on a file, or why it is refused."""
    try:
        return Answer(judged=judged(question))
    except InvalidModel as error:
        return Answer(refused=str(error))
    except MemoryError:
        return Answer(refused=TOO_MUCH)
    except Exception as error:  # noqa: BLE001 - what parsers raise, they raise over the file
        return Answer(refused=str(broken(f"{type(error).__name__}: {str(error)[:200]}")))


def _bound(size: int) -> None:
    taken = psutil.Process().memory_info().vms
    for kind, most in (
        (resource.RLIMIT_AS, taken + _ROOM + _COPIES * size),
        (resource.RLIMIT_CPU, seconds(size)),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        with suppress(ValueError, OSError):  # macOS bounds no addresses
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    """Answers one question."""
    question = Question.model_validate_json(sys.stdin.buffer.read())
    _bound(Path(question.path).stat().st_size)
    answer = answer_to(question).model_dump_json().encode()
    sys.stdout.buffer.write(answer)
    sys.stdout.flush()
    os._exit(0)  # threads of libraries may have been refused their memory, and would be waited for


if __name__ == "__main__":
    main()
