"""What the worker makes of image files, good and bad."""

import io
import random
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from attribution_contracts.problems import ErrorCode
from workers.images.decoding import decode
from workers.problems import InvalidImage

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def photo(width=40, height=30):
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    return Image.fromarray(ramp.astype(np.uint8))


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def black_png(width, height, rows):
    """A one-bit PNG that says it is of any size, made without holding its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_pixels_arrive_unchanged(kind):
    picture = decode(encoded(photo(), kind, lossless=True), "rgb")
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(photo()))


def test_jpeg_arrives_close():
    difference = np.asarray(decode(encoded(photo(), "JPEG", quality=95), "rgb"), float) - np.asarray(photo(), float)
    assert np.abs(difference).mean() < 3


def test_grey_is_one_channel():
    picture = decode(encoded(Image.new("RGB", (4, 4), RED), "PNG"), "grey")
    assert (picture.mode, picture.getpixel((0, 0))) == ("L", 76)  # 0.299 of red


def test_grey_file_for_a_colour_network():
    assert decode(encoded(Image.new("L", (4, 4), 77), "PNG"), "rgb").getpixel((0, 0)) == (77, 77, 77)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (65535, 255), (32768, 128), (257 * 9, 9), (128, 0), (129, 1)])
def test_sixteen_bit_grey_is_scaled(value, expected):
    data = encoded(Image.fromarray(np.full((3, 3), value, np.uint16)), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    assert decode(data, "grey").getpixel((1, 1)) == expected
    assert decode(data, "rgb").getpixel((1, 1)) == (expected,) * 3


@pytest.mark.parametrize("most", [65_535, 4_095, 1_023, 255])
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_sixteen_bit_grey_keeps_its_scale_however_many_bits_are_used(most, color):
    """Scanners write 12 bits into 16: that is dark, and not stretched."""
    rows, columns = np.mgrid[0:64, 0:64]
    values = ((rows + columns) / 126 * most).astype(np.uint16)
    shown = np.asarray(decode(encoded(Image.fromarray(values), "PNG"), color)).reshape(64, 64, -1)
    assert np.abs(shown - values[..., None] / 257).max() <= 0.5


def test_cmyk_is_converted():
    picture = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100), "rgb")
    assert np.abs(np.asarray(picture.getpixel((8, 8))) - RED).max() <= 2


@pytest.mark.parametrize(
    ("pixel", "expected"), [((255, 0, 0, 255), RED), ((0, 0, 0, 0), WHITE), ((0, 0, 0, 51), (204,) * 3)]
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_over_white(kind, pixel, expected):
    data = encoded(Image.new("RGBA", (4, 4), pixel), kind, lossless=True, exact=True)
    assert decode(data, "rgb").getpixel((2, 2)) == expected


def test_transparent_palette_is_laid_over_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((0, 0), 0)
    picture = decode(encoded(image, "PNG", transparency=0), "rgb")
    assert [picture.getpixel((0, 0)), picture.getpixel((1, 1))] == [WHITE, RED]


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (40, 20), "white")
    image.paste(RED, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    upright = decode(encoded(image, "JPEG", exif=exif, quality=100, subsampling=0), "rgb")
    assert upright.size == (20, 40)
    assert np.abs(np.asarray(upright.getpixel((10, 5))) - RED).max() <= 2
    assert np.abs(np.asarray(upright.getpixel((10, 35))) - WHITE).max() <= 2


def test_first_picture_of_a_phones_jpeg_is_the_photograph():
    data = encoded(Image.new("RGB", (16, 16), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    picture = decode(data, "rgb")
    assert picture.size == (16, 16)
    assert picture.getpixel((8, 8))[0] > 250


def animation(kind):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
BAD = {
    "empty": (b"", "0 bytes"),
    "text": (b"not an image at all", "expected one JPEG, PNG or WebP"),
    "eps": (EPS, "expected one JPEG, PNG or WebP"),
    "gif": (encoded(photo().convert("P"), "GIF"), "expected one JPEG, PNG or WebP"),
    "bmp": (encoded(photo(), "BMP"), "expected one JPEG, PNG or WebP"),
    "tiff": (encoded(photo(), "TIFF"), "expected one JPEG, PNG or WebP"),
    "animated png": (animation("PNG"), r"animated \(3 frames\)"),
    "animated webp": (animation("WEBP"), r"animated \(3 frames\)"),
    "bomb": (black_png(13_000, 13_000, rows=13_000), "13000 x 13000 pixels, at most 50,000,000"),
    "larger bomb": (black_png(60_000, 60_000, rows=9), "too many pixels, at most 50,000,000"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_with_a_reason(name):
    data, reason = BAD[name]
    with pytest.raises(InvalidImage, match=reason) as caught:
        decode(data, "rgb")
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.INVALID_IMAGE, False)


def test_a_bomb_is_refused_before_it_is_decoded():
    bomb = BAD["bomb"][0]
    assert len(bomb) < 25_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidImage):
        decode(bomb, "rgb")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # decoded, it has 169,000 KiB


def test_the_limit_itself_is_allowed():
    data = encoded(photo(10, 10), "PNG")
    assert decode(data, "rgb", max_pixels=100).size == (10, 10)
    with pytest.raises(InvalidImage, match="at most 99"):
        decode(data, "rgb", max_pixels=99)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_file_is_refused(kind, share):
    data = encoded(photo(200, 200), kind)
    with pytest.raises(InvalidImage, match=r"truncated|broken"):
        decode(data[: int(len(data) * share)], "rgb")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_bytes_give_an_image_or_a_reason(kind):
    data = encoded(photo(), kind, exif=Image.Exif())
    chance = random.Random(7)
    refused = 0
    for _ in range(300):
        broken = bytearray(data[: chance.randrange(1, len(data) + 1)])
        for _ in range(chance.randrange(4)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            assert decode(bytes(broken), "rgb").mode == "RGB"
        except InvalidImage:
            refused += 1
    assert refused > 100
