"""The admin listener: everything that shows or changes. A token and a role stand before every path, known or not."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.identity.admin import Admin, AdminToken, Right, authenticate_admin
from gateway.policy.near import suggestion
from gateway.server.arrival import lower_case

log = structlog.get_logger(__name__)
ADMIN_NAME = "gateway.admin"  # who asks, on the request
LARGEST_BODY = 64 << 10  # bytes
Schema = Mapping[str, Any]  # JSON Schema 2020-12


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of the query or a member of the body: what the document says of it (server/openapi.py). One that no
    field names is refused."""

    name: str
    words: str
    schema: Schema
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What an admin asks: who it is, the query, and the members of a JSON body."""

    admin: Admin
    query: Mapping[str, str]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: JSON, or a text of another type; `audit` goes into the log of a change."""

    body: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    content_type: str = "application/json"
    audit: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked. `rights`: all of them are needed. `answer` gives the JSON of a 200; or `told` does,
    by what was asked. Both may raise `Unwell`. `shows` names the schema of a 200 in server/openapi.py."""

    method: str
    path: str
    rights: frozenset[Right]
    words: str
    shows: str
    answer: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    told: Callable[[Asked], Awaitable[Told]] | None = None
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()


class Unwell(Exception):
    """The request was understood, and could not be done as things are; `body` says why (409, or another status)."""

    def __init__(self, body: Mapping[str, Any], status: int = 409) -> None:
        super().__init__()
        self.body, self.status = body, status


def admin_app(routes: Sequence[Route], tokens: Sequence[AdminToken]) -> web.Application:
    """The application. Who has no valid token learns not even which paths there are."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        admin = authenticate_admin(lower_case(request.raw_headers), tokens)
        if admin is None:
            return _error(401, "unauthorized", "A valid admin token is needed: Authorization: Bearer TOKEN.")
        request[ADMIN_NAME] = admin
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _error(404, "not_found", "There is no such path on the admin listener.")
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            answer = _error(405, "method_not_allowed", f"This path takes {allowed}.")
            answer.headers["allow"] = allowed
            return answer
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "request_too_large", f"A body may have {LARGEST_BODY} bytes.")

    app = web.Application(middlewares=[guard], client_max_size=LARGEST_BODY)
    for route in routes:
        app.router.add_route(route.method, route.path, _handler(route))
    return app


def _handler(route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        admin: Admin = request[ADMIN_NAME]
        missing = sorted(right for right in route.rights if not admin.may(right))
        changes = route.method != "GET"
        if missing:
            if changes:
                log.warning("admin change refused", admin=admin.name, role=admin.role, path=route.path)
            return _error(403, "forbidden", f"The role '{admin.role}' may not do this; it needs: {', '.join(missing)}.")
        try:
            told = await _answer(route, request, admin)
        except Unwell as unwell:
            if changes:
                log.warning("admin change failed", admin=admin.name, role=admin.role, path=route.path)
            return web.json_response(dict(unwell.body), status=unwell.status)
        if changes:
            log.info("admin change", admin=admin.name, role=admin.role, path=route.path, **told.audit)
        if told.text is not None:
            return web.Response(text=told.text, content_type=told.content_type, charset="utf-8")
        return web.json_response(dict(told.body))

    return handle


async def _answer(route: Route, request: web.Request, admin: Admin) -> Told:
    """Raises Unwell."""
    _known("parameter", request.query, route.query)
    body = await _members(route, request) if route.method != "GET" else {}
    if route.answer is not None:
        return Told(await route.answer())
    assert route.told is not None  # noqa: S101  # INVARIANT: a route has one of the two
    return await route.told(Asked(admin, request.query, body))


async def _members(route: Route, request: web.Request) -> Mapping[str, Any]:
    """Raises Unwell. A route that takes no body takes an empty one, or an empty object."""
    raw = await request.read()
    if not raw and not route.body:
        return {}
    try:
        body = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Unwell(error_body("bad_request", "A JSON object is expected, in which no name comes twice."), 400)
    _known("field", body, route.body)
    for one in route.body:
        if "string" in one.schema["type"] and not isinstance(body.get(one.name), str | None):
            raise Unwell(error_body("bad_request", f"'{one.name}' must be a text: {one.words}"), 400)
    return body


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name comes twice")
    return members


def _known(what: str, given: Mapping[str, Any], fields: Sequence[Field]) -> None:
    """Refuse what no field names: a misspelt `until` must not be an exception without an end."""
    names = [one.name for one in fields]
    for name in given:
        if name not in names:
            allowed = ", ".join(names) or "none"
            words = f"There is no {what} '{name[:100]}' here{suggestion(name, names)}; allowed: {allowed}."
            raise Unwell(error_body("bad_request", words), 400)


def error_body(code: str, message: str) -> Mapping[str, Any]:
    """The JSON of an error."""
    return {"error": {"code": code, "message": message}}


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response(error_body(code, message), status=status)
