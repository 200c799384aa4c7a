"""HEAD is answered wherever GET is, with the same head and no body."""

from tests.service.house import SELF_TEST, House


def test_every_route_that_answers_get_answers_head(house: House) -> None:
    house.add_model()
    house.submit(**SELF_TEST)
    job = house.claim()
    digest = house.succeed(job, {"a.png": b"a file"}).artifacts[0].sha256
    known = {"{job_id}": job.job_id, "{name}": "digits", "{version}": "1", "{sha256}": digest}
    paths = [
        "/",
        *(path for path, routes in house.http.get("/openapi.json").json()["paths"].items() if "get" in routes),
    ]
    assert len(paths) > 15
    for template in paths:
        path = template
        for name, value in known.items():
            path = path.replace(name, value)
        with house.http.stream("GET", path) as found:
            asked = house.http.head(path)
            own = {"date", "x-request-id", "transfer-encoding"}
            assert asked.status_code == found.status_code, path
            assert asked.content == b""
            assert {name for name in asked.headers if name not in own} >= {"content-type"} or found.status_code == 204
            assert asked.headers.get("content-type") == found.headers.get("content-type"), path
