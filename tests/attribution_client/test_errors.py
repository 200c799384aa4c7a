"""What a client says of an answer that refuses."""

import httpx
import pytest

from attribution_client.errors import error_of
from attribution_contracts.problems import ErrorCode, problem


@pytest.mark.parametrize(("code", "is_named"), [(ErrorCode.INTERNAL, True), (ErrorCode.NOT_FOUND, False)])
def test_a_failure_that_only_the_log_can_tell_names_its_request(code, is_named):
    answer = httpx.Response(
        500 if is_named else 404,
        headers={"content-type": "application/problem+json", "X-Request-ID": "abc123"},
        content=problem(code, "it is").model_dump_json(),
    )
    assert ("X-Request-ID abc123" in str(error_of(answer))) is is_named
