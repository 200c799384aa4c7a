"""NumPy archives: an array of images and one of labels, read a row at a time."""

import io
import math
import zipfile
from functools import partial
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from workers.datasets.entries import Entries, Entry, Limits, is_ignored, plain, wrong_name
from workers.problems import InvalidDataset

ARRAYS = frozenset({"images.npy", "labels.npy"})
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_MAX_LABEL_BYTES = 4 * 200  # NumPy keeps text as UCS-4


class _Header(NamedTuple):
    """What the head of an array says."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype


def array_entries(archive: zipfile.ZipFile, limits: Limits) -> Entries:
    """Every image as a PNG file named by its position, in the folder of its label where that can be the name of one.

    Raises:
        InvalidDataset: The arrays are not what is expected.
    """
    labels = _labels(archive, limits)
    with archive.open("images.npy") as file:
        header = _header(file, "images")
        count, shape = _image_shape(header)
        if count != len(labels):
            raise InvalidDataset(f"there are {count} images and {len(labels)} labels: expected one label an image")
        size = math.prod(shape)
        limits.require_bytes(count * size)
        for index, label in enumerate(labels):
            row = file.read(size)
            if len(row) < size:
                raise InvalidDataset(f"images ends at image {index} of {count}: send the whole file")
            png = _png(row, shape)
            name = f"{index:06}.png"
            yield Entry(f"{label}/{name}" if _is_folder(label) else name, len(png), partial(_start, png), label=label)


def _labels(archive: zipfile.ZipFile, limits: Limits) -> list[str]:
    with archive.open("labels.npy") as file:
        header = _header(file, "labels")
        is_text = header.dtype.kind == "U"
        if len(header.shape) != 1 or not (is_text or header.dtype.kind in "iu"):
            raise InvalidDataset(
                f"labels is {header.dtype} of shape {list(header.shape)}: expected one integer or text an image"
            )
        if header.dtype.itemsize > _MAX_LABEL_BYTES:
            raise InvalidDataset(f"labels holds texts of {header.dtype.itemsize // 4} characters, at most 200 each")
        limits.require_files(header.shape[0])
        content = file.read(header.shape[0] * header.dtype.itemsize)
    try:
        labels = [str(label) for label in np.frombuffer(content, header.dtype, header.shape[0]).tolist()]
    except ValueError as error:
        raise InvalidDataset("labels ends before its last label: send the whole file") from error
    if "" in labels:
        raise InvalidDataset(f"the label of image {labels.index('')} is empty: expected the name of a class")
    return labels


def _is_folder(label: str) -> bool:
    return "/" not in label and label == plain(label) and not wrong_name(label) and not is_ignored(label)


def _header(file: IO[bytes], name: str) -> _Header:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return _Header(*read(file))
    except ValueError as error:
        raise InvalidDataset(f"{name} is no NumPy array that can be read: {error}") from error


def _image_shape(header: _Header) -> tuple[int, tuple[int, ...]]:
    """How many images there are, and the shape of one."""
    shape = header.shape
    is_image = len(shape) == 3 or (len(shape) == 4 and shape[3] in _MODES)
    if header.dtype != np.uint8 or header.is_fortran or not is_image or 0 in shape[1:]:
        order = " in Fortran's order" if header.is_fortran else ""
        raise InvalidDataset(
            f"images is {header.dtype} of shape {list(shape)}{order}: "
            "expected uint8 of shape (N, height, width) or (N, height, width, 1, 3 or 4), in C's order"
        )
    return shape[0], shape[1:]


def _png(row: bytes, shape: tuple[int, ...]) -> bytes:
    mode = _MODES[shape[2] if len(shape) == 3 else 1]
    target = io.BytesIO()
    Image.frombytes(mode, (shape[1], shape[0]), row).save(target, "PNG")
    return target.getvalue()


def _start(content: bytes, most: int) -> bytes:
    return content[:most]
