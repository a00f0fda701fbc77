"""The OpenAPI document is true: requests made from it, good and bad, get only answers that it names."""

from uuid import UUID

import pytest
import schemathesis
from factories import Weir
from hypothesis import HealthCheck, settings
from schemathesis import openapi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from shared.config import Settings

EXAMPLES = 60

document = openapi.from_dict(create_app(Settings()).behind.app.openapi())
document.config.generation.deterministic = True


@schemathesis.serializer("application/x-ndjson")
def lines(_context: object, value: object) -> bytes:
    return str(value).encode(errors="surrogatepass")


def no_server_error(_context: object, response: schemathesis.Response, _case: object) -> None:
    """500 and 503 are documented, but here everything runs: neither should come."""
    assert response.status_code < 500


@pytest.fixture(scope="module")
def device(running_weir: Weir) -> str:
    return str(running_weir.device())


def is_uuid(value: object) -> bool:
    try:
        return str(UUID(str(value))) == str(value)
    except ValueError:
        return False


@document.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_those_of_the_document(case: schemathesis.Case, running_weir: Weir, device: str) -> None:
    if is_uuid(case.path_parameters.get("device_id")):
        case.path_parameters["device_id"] = device  # one that exists, to come further than a 404
    if isinstance(case.query, dict) and isinstance(case.query.get("wait"), int | float):
        case.query["wait"] = 0
    case.call_and_validate(
        base_url=running_weir.url,
        checks=[
            no_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            response_headers_conformance,
        ],
        timeout=20,
    )


def test_document_names_the_headers_of_answers_about_users() -> None:
    for path in ("/stats/dau", "/api/stats/top-events", "/stats/retention"):
        found = document.raw_schema["paths"][path]["get"]["responses"]["200"]["headers"]
        assert set(found) == {"Location", "Weir-As-Of", "Weir-Checked-At", "Weir-Queued"}


def test_document_names_the_problems_of_every_operation() -> None:
    operations = [result.ok() for result in document.get_all_operations()]
    assert len(operations) > 15
    for status in ("500", "503"):
        without = [one.label for one in operations if status not in one.definition.raw["responses"]]
        assert without == ["GET /healthz"]
    responses = operations[0].definition.raw["responses"]
    assert ["Retry-After" in responses[status].get("headers", {}) for status in ("500", "503")] == [False, True]
