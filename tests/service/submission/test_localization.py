"""Masks and boxes of a request: found, owned and checked as other images are, and counted before it is accepted."""

import hashlib
import json
from typing import Any

import pytest

from tests.service.house import IG, House, picture, refused, sent

ASKED: dict[str, Any] = {"model": "digits", "explanation": IG, "quality": {"localization": {}}}
BOXES = [[1, 1, 4.5, 4], [0, 2, 3, 8]]
MASK = picture(mode="L", size=(8, 8))
PIXELS = 28 * 28


def test_a_mask_is_named_by_its_digest_and_kept(house: House) -> None:
    house.add_model()
    digest = hashlib.sha256(MASK).hexdigest()
    answer = house.submit(**ASKED, inputs=[sent() | {"mask": sent(MASK)}, sent() | {"boxes": BOXES}])
    assert answer.status_code == 202, answer.text
    house.show_worker()
    resolved = house.claim().resolved
    assert resolved["inputs"][0]["mask"] == {"image": digest}
    assert resolved["inputs"][1]["boxes"] == BOXES
    assert house.store.get(digest) == MASK
    again = house.submit(**ASKED, inputs=[sent() | {"mask": {"image": digest}}])
    assert again.status_code == 202, again.text


def test_a_mask_may_be_a_part_or_a_data_uri(house: House) -> None:
    house.add_model()
    document = ASKED | {"inputs": [sent() | {"mask": {"part": "where"}}]}
    answer = house.http.post(
        "/v1/jobs", files={"request": (None, json.dumps(document)), "where": ("m.png", MASK, "image/png")}
    )
    assert answer.status_code == 202, answer.text
    uri = {"data": "data:image/png;base64," + sent(MASK)["data"]}
    assert house.submit(**ASKED, inputs=[sent() | {"mask": uri}]).status_code == 202


def test_the_answer_depends_on_where_the_evidence_is(house: House) -> None:
    house.add_model()
    keys = set()
    for place in ({"boxes": BOXES}, {"boxes": BOXES[:1]}, {"mask": sent(MASK)}, {"mask": sent(picture())}):
        assert house.submit(**ASKED, inputs=[sent() | place]).status_code == 202
        house.show_worker()
        resolved = house.claim().resolved["inputs"][0]
        keys.add(json.dumps([resolved.get("boxes"), resolved.get("mask")]))
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("request_", "code", "pointer", "said"),
    [
        (ASKED | {"inputs": [sent()]}, "invalid_request", "", "no input says where"),
        (
            ASKED | {"inputs": [sent() | {"boxes": BOXES}], "quality": {}},
            "invalid_request",
            "",
            "inputs/0/boxes is held against maps by quality.localization alone",
        ),
        (
            ASKED | {"inputs": [sent() | {"boxes": BOXES, "mask": sent(MASK)}]},
            "invalid_request",
            "/inputs/0",
            "give one of them",
        ),
        (
            ASKED | {"inputs": [sent() | {"boxes": [[4, 1, 1, 4]]}]},
            "invalid_request",
            "/inputs/0",
            "boxes: 0 is [4.0, 1.0, 1.0, 4.0], expected left, top, right and bottom",
        ),
        (ASKED | {"inputs": [sent() | {"boxes": []}]}, "invalid_request", "/inputs/0/boxes", "at least 1"),
        (ASKED | {"inputs": [sent() | {"boxes": [[1, 2, 3]]}]}, "invalid_request", "/inputs/0/boxes/0", "4"),
        (ASKED | {"inputs": [sent() | {"boxes": [[-1, 2, 3, 4]]}]}, "invalid_request", "/inputs/0/boxes/0/0", "0"),
        (
            ASKED | {"inputs": [sent() | {"mask": {"image": "0" * 64}}]},
            "unknown_image",
            "/inputs/0/mask/image",
            "was uploaded",
        ),
        (
            ASKED | {"inputs": [sent() | {"mask": sent(picture("JPEG"))}]},
            "invalid_image",
            "/inputs/0/mask",
            "the mask is image/jpeg, expected a PNG",
        ),
        (ASKED | {"inputs": [sent() | {"mask": sent(b"none")}]}, "invalid_image", "/inputs/0/mask/data", "convert"),
        (
            ASKED | {"inputs": [sent() | {"mask": {"url": "x"}}]},
            "invalid_request",
            "/inputs/0/mask/url",
            "addresses are not fetched",
        ),
        (
            ASKED | {"inputs": [sent() | {"boxes": BOXES}], "quality": {"localization": {"quantity": "std"}}},
            "invalid_request",
            "",
            "quality.localization.quantity is 'std'",
        ),
        (
            {
                "model": "digits",
                "dataset": "birds",
                "task": {"task": "explain", "explanation": IG, "quality": {"localization": {}}},
            },
            "invalid_request",
            "/task",
            "come with no mask or boxes",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    house: House, request_: dict[str, Any], code: str, pointer: str, said: str
) -> None:
    house.add_model()
    errors = refused(house.submit(**request_), 422, code)
    assert said in errors[pointer], errors


@pytest.mark.parametrize(("options", "passes"), [({}, 2 * 3), ({"references": False}, 0), ({"random_maps": 100}, 6)])
def test_only_images_that_say_where_cost_more(house: House, options: dict[str, Any], passes: int) -> None:
    house.add_model()
    explanation = {"method": "saliency", "target": {"top_k": 3}}
    plain = house.submit(model="digits", explanation=explanation, inputs=[sent(), sent(picture(size=(9, 8)))])
    given = [sent() | {"boxes": BOXES}, sent(picture(size=(9, 8)))]
    judged = house.submit(
        model="digits", explanation=explanation, inputs=given, quality={"localization": options}
    )  # fmt: skip
    assert judged.json()["work"] - plain.json()["work"] == passes * PIXELS
