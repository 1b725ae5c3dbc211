"""The OpenAPI document: it is what docs/openapi.json says, it follows the tables, and it is OpenAPI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.endpoints import HOT, find
from gateway.server.openapi import document
from gateway.server.routes import all_routes
from gateway.server.schemas import SCHEMAS

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"
NOT_ASKED = cast("Any", None)
ROUTES = all_routes(NOT_ASKED, NOT_ASKED, NOT_ASKED, NOT_ASKED, NOT_ASKED)
DOCUMENT = document(ROUTES)
OPERATIONS = [
    (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "servers"
]


def text() -> str:
    return json.dumps(DOCUMENT, indent=1, ensure_ascii=False) + "\n"


def test_the_kept_document_is_the_served_one() -> None:
    kept = FILE.read_text("utf-8") if FILE.exists() else ""
    assert kept == text(), "docs/openapi.json is not what the tables say; write it anew with `make openapi`"


def test_every_route_of_the_admin_listener_is_in_it_and_names_a_schema() -> None:
    shown = {(path, method.upper()) for path, method, one in OPERATIONS if one["tags"] == ["admin"]}
    assert shown == {(route.path, route.method) for route in ROUTES}
    assert {route.shows for route in ROUTES} <= set(SCHEMAS)


def test_every_path_of_applications_is_served_as_it_says() -> None:
    shown = {(path, method.upper()) for path, method, one in OPERATIONS if one["tags"] == ["applications"]}
    assert {(f"/v1{path}", "POST") for path in HOT} <= shown
    for path, method in shown:
        endpoint = find(method, path.replace("{model}", "chat"))
        assert endpoint is not None, path
        assert endpoint.visible, path


def test_every_reference_is_there_and_every_operation_has_a_name_of_its_own() -> None:
    pieces = text().split('"$ref": "#/components/schemas/')[1:]
    assert {piece.partition('"')[0] for piece in pieces} <= set(SCHEMAS)
    ids = [one["operationId"] for _, _, one in OPERATIONS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("member", ["query", "body"])
def test_fields_have_names_once(member: str) -> None:
    for route in ROUTES:
        names = [one.name for one in getattr(route, member)]
        assert len(names) == len(set(names)), route.path
