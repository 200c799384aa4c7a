"""Files that are no usable image: found by their header, never decoded, never stored."""

import io
import resource
import struct
import zlib

import pytest
from PIL import Image

from tests.service.house import IG, House, picture, refused, sent

ANIMATION = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]


def animated(kind: str) -> bytes:
    target = io.BytesIO()
    ANIMATION[0].save(target, kind, save_all=True, append_images=ANIMATION[1:])
    return target.getvalue()


def other(kind: str) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(target, kind)
    return target.getvalue()


def bomb(side: int = 13_000) -> bytes:
    """A PNG of side x side pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(b"\0" * (1 + side // 8)) for _ in range(side)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp_canvas(width: int, height: int) -> bytes:
    """An extended WebP file that announces a large canvas and holds nothing."""
    chunk = (
        b"VP8X"
        + struct.pack("<I", 10)
        + b"\0\0\0\0"
        + struct.pack("<I", width - 1)[:3]
        + struct.pack("<I", height - 1)[:3]
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


FILES = {
    "empty": (b"", "empty"),
    "text": (b"hello, this is no image", "b'hello, t'"),
    "pdf": (b"%PDF-1.7 something", "no JPEG, PNG or WebP"),
    "eps": (other("EPS"), "no JPEG, PNG or WebP"),
    "gif": (other("GIF"), "no JPEG, PNG or WebP"),
    "bmp": (other("BMP"), "no JPEG, PNG or WebP"),
    "tiff": (other("TIFF"), "no JPEG, PNG or WebP"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no JPEG, PNG or WebP"),
    "png header alone": (b"\x89PNG\r\n\x1a\n", "header of the PNG"),
    "png cut in its header": (picture("PNG")[:20], "header of the PNG"),
    "jpeg header alone": (b"\xff\xd8\xff\xe0", "header of the JPEG"),
    "webp header alone": (b"RIFF\x00\x00\x00\x00WEBP", "header of the WebP"),
    "wave sound": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "header of the WebP"),
    "animated png": (animated("PNG"), "animated (3 frames)"),
    "animated webp": (animated("WEBP"), "animated (3 frames)"),
    "bomb": (bomb(), "13000 x 13000 pixels, at most 50000000"),
    "webp canvas": (webp_canvas(16_000, 16_000), "pixels"),
}


@pytest.mark.parametrize("name", [name for name in FILES if name != "empty"])
def test_in_a_job(unharmed: House, name: str) -> None:
    content, said = FILES[name]
    answer = unharmed.submit(model="digits", inputs=[sent(), sent(content)], explanation=IG)
    assert said in refused(answer, 422, "invalid_image")["/inputs/1/data"]


@pytest.mark.parametrize("name", FILES)
def test_as_a_part(unharmed: House, name: str) -> None:
    content, said = FILES[name]
    document = b'{"model": "digits", "inputs": [{"part": "a"}], "explanation": {"method": "integrated_gradients"}}'
    parts = {"request": (None, document, "application/json"), "a": ("a", content, "image/png")}
    answer = unharmed.http.post("/v1/jobs", files=parts)
    assert said in refused(answer, 422, "invalid_image")["/inputs/0/part"]


@pytest.mark.parametrize("name", FILES)
def test_as_an_upload(unharmed: House, name: str) -> None:
    content, said = FILES[name]
    answer = unharmed.http.post("/v1/images", content=content, headers={"content-type": "application/octet-stream"})
    assert said in refused(answer, 422, "invalid_image")[""]


def test_as_a_baseline(unharmed: House) -> None:
    explanation = IG | {"baselines": [{"kind": "background", "images": [sent(), sent(b"no image")]}]}
    inputs = [sent() | {"baseline": sent(b"no image")}]
    errors = refused(unharmed.submit(model="digits", inputs=inputs, explanation=explanation), 422, "invalid_image")
    assert errors.keys() == {"/inputs/0/baseline/data", "/explanation/baselines/0/images/1/data"}


@pytest.mark.parametrize("data", ["AAAAA", "AAA=AAAA", "====", "no-base64!"])
def test_what_is_no_base64(unharmed: House, data: str) -> None:
    answer = unharmed.submit(model="digits", inputs=[{"data": data}], explanation=IG)
    assert "/inputs/0/data" in refused(answer, 422, answer.json()["code"])
    assert answer.json()["code"] in {"invalid_request", "invalid_image"}


def test_a_bomb_is_not_decoded(unharmed: House) -> None:
    content = bomb(24_000)  # 72 MB once decoded as bits, 1.7 GB as colours
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = unharmed.http.post("/v1/images", content=content, headers={"content-type": "image/png"})
    refused(answer, 422, "invalid_image")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "I;16"), ("PNG", "LA"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGBA")],
)
def test_what_a_worker_converts_is_accepted(house: House, kind: str, mode: str) -> None:
    content = picture(kind, (9, 5), mode)
    answer = house.http.post("/v1/images", content=content, headers={"content-type": "image/png"})
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["width"], found["height"], found["size"]) == (9, 5, len(content))
    assert found["media_type"] == f"image/{kind.lower()}"


def test_a_truncated_image_is_the_workers_to_find(house: House) -> None:
    house.add_model()
    whole = picture("PNG", (200, 200))
    answer = house.submit(model="digits", inputs=[sent(whole[: len(whole) * 2 // 3])], explanation=IG)
    assert answer.status_code == 202, answer.text
