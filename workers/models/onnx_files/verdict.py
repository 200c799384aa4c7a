"""What a worker asks of the process that judges an ONNX file, and what that answers."""

from attribution_contracts.base import Wire

TOO_MUCH = (
    "the ONNX file takes more memory or time to read than any classifier of its size needs: expected a graph of some"
    " thousand nodes; export it again"
)
"""Of a file that its reader does not survive."""


_SECONDS, _BYTES_A_SECOND = 10, 32 * 1024**2


def seconds(size: int) -> int:
    """Processor time that judging a file of so many bytes may take: real networks take a second or two."""
    return _SECONDS + size // _BYTES_A_SECOND


class Image(Wire):
    """What preprocessing makes of an image."""

    size: tuple[int, int]
    """Height and width."""
    channels: int


class Question(Wire):
    """A file, and what is expected of it."""

    path: str
    image: Image
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
