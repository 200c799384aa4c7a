"""The same job as curl, requests, browsers, .NET, Apache and others write it in parts."""

import base64
import hashlib
import json

import httpx
import pytest

from tests.service.house import IG, House, picture, refused

IMAGE = picture("JPEG", (40, 60))
ASKED = json.dumps({"model": "digits", "inputs": [{"part": "image"}], "explanation": IG}).encode()
REQUEST = b'Content-Disposition: form-data; name="request"'
PLAIN = b'Content-Disposition: form-data; name="image"; filename="a b.jpg"'


def body(head: bytes = PLAIN, *, request: bytes = REQUEST, before: bytes = b"", after: bytes = b"") -> bytes:
    parts = b"".join(b"--X\r\n" + one + b"\r\n\r\n" + data + b"\r\n" for one, data in ((request, ASKED), (head, IMAGE)))
    return before + parts + b"--X--\r\n" + after


def turned(data: bytes) -> bytes:
    """The file in front of the document."""
    _, request, image, end = data.split(b"--X")
    return b"--X" + image + b"--X" + request + b"--X" + end


def named(rest: str) -> bytes:
    return b'Content-Disposition: form-data; name="image"; ' + rest.encode()


BODIES = {
    "plain": body(),
    "image first": turned(body()),
    "leading line end": body(before=b"\r\n"),
    "epilogue": body(after=b"\r\nbye"),
    "without quotes": body(
        b"Content-Disposition: form-data; name=image; filename=a.jpg; filename*=utf-8''%F0%9F%90%A8.jpg",
        request=b"Content-Disposition: form-data; name=request\r\nContent-Type: application/json; charset=utf-8",
    ),
    "encoded name alone": body(named("filename*=UTF-8''na%C3%AFve%20%22q%22.jpg")),
    "emoji": body(named('filename="🐨 ü.jpg"')),
    "escaped quote": body(named('filename="a\\"b;c.jpg"')),
    "path": body(named('filename="C:\\Users\\x\\a.jpg"')),
    "empty file name": body(named('filename=""')),
    "file name first": body(b'Content-Disposition: form-data; filename="a.jpg"; name="image"'),
    "transfer encoding": body(PLAIN + b"\r\nContent-Transfer-Encoding: binary"),
    "more headers": body(PLAIN + b"\r\nContent-Type: application/octet-stream\r\nX-Trace: 1\r\nContent-Length: 5"),
    "small letters": body(PLAIN.lower()),
    "no space behind colons": body(PLAIN.replace(b": ", b":").replace(b"; ", b";")),
}
TYPES = [
    "multipart/form-data; boundary=X",
    'Multipart/Form-Data; Boundary="X"',
    "multipart/form-data; charset=utf-8; boundary=X",
    "multipart/form-data;boundary=X",
]


def posted(house: House, content: bytes, kind: str = TYPES[0]) -> httpx.Response:
    return house.http.post("/v1/jobs", content=content, headers={"content-type": kind})


@pytest.mark.parametrize("name", BODIES)
def test_a_dialect(house: House, name: str) -> None:
    house.add_model()
    answer = posted(house, BODIES[name])
    assert answer.status_code == 202, answer.text
    assert house.claim().request["inputs"][0]["image"] == hashlib.sha256(IMAGE).hexdigest()


@pytest.mark.parametrize("kind", TYPES)
def test_a_content_type(house: House, kind: str) -> None:
    house.add_model()
    assert posted(house, body(), kind).status_code == 202


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable"])
def test_encoded_parts_are_not_taken_for_images(unharmed: House, encoding: bytes) -> None:
    content = body(PLAIN + b"\r\nContent-Transfer-Encoding: " + encoding).replace(IMAGE, base64.b64encode(IMAGE))
    answer = posted(unharmed, content)
    assert refused(answer, 422, answer.json()["code"])
