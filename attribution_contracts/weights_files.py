"""What a weights file is, by its first bytes: people send what their training wrote, or the wrong file."""

from attribution_contracts.patterns import ONNX

HEAD_BYTES = 256
"""Of a file, enough to tell what it is."""
MAX_HEADER = 100_000_000
"""Bytes of a header that safetensors itself accepts."""

_LENGTH = 8
_ONNX_VERSIONS = range(1, 33)
_ONNX_FIELDS = frozenset({0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2, 0xCA})
"""What a field of an ONNX model begins with; those that follow its version may come in any order."""
_ONNX = "expected an ONNX model in one file, as torch.onnx.export(..., external_data=False) or tf2onnx writes it"
_EXPECTED = "expected safetensors, as safetensors.torch.save_file(model.state_dict(), path) writes it"
_TORCH = f"which can run code: load it where it was made, and convert it; {_EXPECTED}"
_SIGNATURES = {
    b"\x89HDF": "an HDF5 file, such as Keras writes",
    b"\xff\xd8\xff": "a JPEG",
    b"\x89PNG": "a PNG",
    b"GIF8": "a GIF",
    b"RIFF": "a WebP or another RIFF file",
    b"\x1f\x8b": "a gzip archive",
    b"GGUF": "a GGUF file",
    b"%PDF": "a PDF",
}
"""What other files begin with."""
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_ZIP = b"PK\x03\x04"
_TORCH_ENTRY = b"/data.pkl"
"""The first file in the zip archives of torch.save."""


def why_no_weights(architecture: str, head: bytes) -> str | None:
    """What a file is that cannot hold the weights of an architecture, by its first bytes; nothing where it may."""
    return why_no_onnx(head) if architecture == ONNX else why_no_safetensors(head)


def why_no_safetensors(head: bytes) -> str | None:
    r"""What a file is that cannot be in safetensors format, and what to do; nothing where it may be.

    Args:
        head: Its first `HEAD_BYTES`, or all of it where it has fewer.

    >>> why_no_safetensors(b"\xff\xd8\xff\xe0" + bytes(20)).split(":")[0]
    'the weights file is a JPEG'
    >>> why_no_safetensors((2).to_bytes(8, "little") + b"{}")
    """
    if head[_LENGTH : _LENGTH + 1] == b"{" and int.from_bytes(head[:_LENGTH], "little") <= MAX_HEADER:
        return None
    if head.startswith(_ZIP):
        what = "a file of torch.save" if _TORCH_ENTRY in head else "a zip archive, such as torch.save writes"
        return f"the weights file is {what}, {_TORCH}"
    if head.startswith(_PICKLES):
        return f"the weights file is a pickle, such as old versions of torch.save write, {_TORCH}"
    if _may_be_onnx(head):
        return f"the weights file is an ONNX model: register it with the architecture onnx; else {_EXPECTED}"
    return f"the weights file is {_named(head)}: {_EXPECTED}"


def why_no_onnx(head: bytes) -> str | None:
    r"""What a file is that cannot be an ONNX model, and what to do; nothing where it may be.

    Args:
        head: Its first `HEAD_BYTES`, or all of it where it has fewer.

    >>> why_no_onnx(b"\x89PNG\r\n").split(":")[0]
    'the weights file is a PNG'
    >>> why_no_onnx(b"\x08\x08\x12\x07pytorch")
    """
    if _may_be_onnx(head):
        return None
    if why_no_safetensors(head) is None:
        return f"the weights file is in safetensors format, of tensors alone: {_ONNX}"
    if head.startswith((_ZIP, *_PICKLES)):
        return f"the weights file is a pickle or an archive, which can run code: {_ONNX}"
    return f"the weights file is {_named(head)}: {_ONNX}"


def _may_be_onnx(head: bytes) -> bool:
    """Whether a file begins as every known exporter begins: with the version of the format."""
    return len(head) > 2 and head[0] == 0x08 and head[1] in _ONNX_VERSIONS and head[2] in _ONNX_FIELDS


def _named(head: bytes) -> str:
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature):
            return what
    if len(head) <= _LENGTH:
        return f"none, it has only {len(head)} bytes"
    text = head.decode("utf-8", errors="ignore")  # the last character may be cut
    if len(text.encode()) > len(head) - 4 and all(char.isprintable() or char.isspace() for char in text):
        return f"text, it begins with {' '.join(text.split())[:40]!r}"
    return f"of an unknown kind, it begins with the bytes {head[:_LENGTH].hex(' ')}"
