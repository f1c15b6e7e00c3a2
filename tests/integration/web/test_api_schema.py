"""The API against its own description: schemathesis makes the requests, a real node answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance

from fairlead.web.api import create_api
from support.nodeprocess import NodeProcess
from unit.web.fakenode import FakeNode

schema = schemathesis.openapi.from_dict(create_api(FakeNode()).openapi()).include(
    path_regex="^/(api/|healthz|readyz|metrics)"
)
# What OpenAPI cannot say and the API rightly refuses: a purge needs one of several parameters, a
# search a word, a page one direction; a title has no control characters, JSON a limit of depth, a
# cursor its meaning. Every method of `/{id}` is there for `list` and `search` as well (and 404).
EXCLUDED = {
    "DELETE /api/cache": [positive_data_acceptance],
    "PUT /api/upstreams/{name}": [positive_data_acceptance],
    "GET /api/threads/list": [positive_data_acceptance, allow_header_conformance],
    "GET /api/threads/search": [positive_data_acceptance, allow_header_conformance],
    "GET /api/threads/{id}/messages": [positive_data_acceptance],
    "POST /api/threads": [positive_data_acceptance],
    "PUT /api/threads/{id}": [positive_data_acceptance],
    "POST /api/workspaces": [positive_data_acceptance],
    "GET /api/workspaces/{id}/glob": [positive_data_acceptance],
    "GET /api/workspaces/{id}/search": [positive_data_acceptance],
    "GET /api/assets/repomap": [positive_data_acceptance],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with NodeProcess(tmp_path_factory.mktemp("node")) as node:
        yield node.url


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_fit_the_description(case: schemathesis.Case, url: str) -> None:
    excluded = EXCLUDED.get(case.operation.label, [])
    case.call_and_validate(base_url=url, excluded_checks=excluded)


def test_every_described_operation_is_tried() -> None:
    labels = [result.ok().label for result in schema.get_all_operations()]
    assert sorted(labels) == [
        "DELETE /api/cache",
        "DELETE /api/threads/{id}",
        "DELETE /api/threads/{id}/share",
        "DELETE /api/workspaces/{id}",
        "GET /api/assets/repomap",
        "GET /api/cache",
        "GET /api/threads/list",
        "GET /api/threads/search",
        "GET /api/threads/{id}",
        "GET /api/threads/{id}/messages",
        "GET /api/upstreams",
        "GET /api/workspaces",
        "GET /api/workspaces/{id}/dependencies",
        "GET /api/workspaces/{id}/files/{path}",
        "GET /api/workspaces/{id}/glob",
        "GET /api/workspaces/{id}/search",
        "GET /api/workspaces/{id}/stat/{path}",
        "GET /healthz",
        "GET /metrics",
        "GET /readyz",
        "POST /api/threads",
        "POST /api/threads/{id}/messages",
        "POST /api/threads/{id}/share",
        "POST /api/workspaces",
        "PUT /api/threads/{id}",
        "PUT /api/upstreams/{name}",
        "PUT /api/workspaces/{id}/files/{path}",
    ]


@pytest.mark.parametrize("path", ["/api/cache", "/healthz", "/api/threads/list"])
def test_the_description_is_served_where_it_is_looked_for(url: str, path: str) -> None:
    assert path in requests.get(url + "/openapi.json", timeout=10).json()["paths"]
