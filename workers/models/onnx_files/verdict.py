"""What a worker asks of the process that judges an ONNX file, and what that answers."""

from attribution_contracts.base import Wire
from attribution_contracts.models import Preprocessing

TOO_MUCH = (
    "the ONNX file takes more memory or time to read than any classifier of its size needs: expected a graph of some"
    " thousand nodes; export it again"
)
"""Of a file that its reader does not survive."""


class Question(Wire):
    """A file, and what is expected of it."""

    path: str
    preprocessing: Preprocessing
    max_parameters: int
    max_bytes: int
    """For what it computes at a time."""


class Judged(Wire):
    """What a file was found to be before anything of it ran: its ``classes`` only where its shapes tell."""

    input: str
    is_channels_last: bool
    classes: int | None
    parameters: int
    n_bytes: int
    """What its weights take in memory."""


class Answer(Wire):
    """One of the two."""

    judged: Judged | None = None
    refused: str | None = None
