"""Submitting jobs."""

import base64

from tests.service.house import IG, SELF_TEST, House, picture


def test_a_job_is_accepted_and_can_be_looked_at(house: House) -> None:
    answer = house.submit(**SELF_TEST)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert answer.headers["Retry-After"] == "1"
    assert job["status"] == "queued"
    assert house.http.get(answer.headers["Location"]).json() == job


def test_an_image_in_the_body_is_stored_and_named_by_digest(house: House) -> None:
    house.add_model()
    image = picture()
    answer = house.submit(model="digits", inputs=[{"data": base64.b64encode(image).decode()}], explanation=IG)
    assert answer.status_code == 202, answer.text
    claimed = house.claim()
    [given] = claimed.request["inputs"]
    assert given.keys() == {"image"}
    assert house.store.get(given["image"]) == image
    assert claimed.resolved["model"] == "digits@1"
    assert claimed.resolved["explanation"]["target"] == "predicted"
