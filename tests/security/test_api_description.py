"""REST's description is true: requests made from it get no answer that it does not list, and no 500."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.processes import KEY
from tests.properties import examples

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    positive_data_acceptance,
]
EXAMPLES = 5
DRAINS = 1  # each ends the gateway
FOR_CLIENTS = {
    "readTurns", "listOwnSessions", "createSession", "changeSession", "deleteSession", "sendMessage", "cancelTurn",
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway("serve", scripted_agent.http_url, RATE_LIMIT="0", DRAIN_SECONDS="1") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def schema(gateway: processes.Process) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{gateway.http_url}/api/v1/openapi.json", headers={"X-Internal-Auth": KEY})


@pytest.mark.hypothesis
@pytest.mark.timeout(600)  # every operation, on a machine that may be busy
@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("key", [KEY, None], ids=["key", "no key"])
def test_every_answer_is_a_described_one(gateway, schema, key, mode):
    for operation in schema.get_all_operations():
        _try_operation(gateway, operation.ok(), key, mode)


def _try_operation(gateway, operation, key, mode):
    operation_id = operation.definition.raw["operationId"]
    is_ending = operation_id == "drain" and key is not None

    @given(operation.as_strategy(mode))
    @examples(
        DRAINS if is_ending else EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=[*settings().suppress_health_check, HealthCheck.filter_too_much],
    )
    def answers_as_described(case):
        response = _request(gateway, case, key)
        if is_ending and response.status_code == 202:
            gateway.wait()
            gateway.start()
        case.validate_response(response, checks=CHECKS, excluded_checks=_inapplicable(case))
        if key is None and operation_id != "watchEvents":
            # A wrong path is none, with a key or without; where the access policy decides, fields are checked before.
            others = {400, 404} if operation_id in FOR_CLIENTS else {404}
            assert response.status_code in {401, *others}

    answers_as_described()


def _inapplicable(case):
    """Exclude the acceptance of a page's cursor that no page gave: a pattern of base64 cannot say that it is UTF-8."""
    return [positive_data_acceptance] if (case.query or {}).get("cursor") else []


def _request(gateway, case, key):
    """Send a request. Of an event stream, which has no end, take the first piece for the whole."""
    headers = {"X-Internal-Auth": key} if key else {}
    arguments = case.as_transport_kwargs(base_url=gateway.http_url, headers=headers)
    if key is None:
        arguments["headers"].pop("X-Internal-Auth", None)
    with requests.request(**arguments, stream=True, timeout=LIMIT_SECONDS) as response:
        is_stream = response.headers.get("Content-Type") == "text/event-stream"
        response._content = next(response.iter_content(None), b"") if is_stream else response.content
        response._content_consumed = True
    return response
