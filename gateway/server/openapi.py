"""The OpenAPI 3.1 document of what the gateway answers itself and of the paths whose requests it reads. Pure.

The admin listener's part follows its route table, the applications' part the table of endpoints. `docs/openapi.json` is
this document, and a test holds it to that. Of the providers' APIs it says only what the gateway itself asks for and
may answer: their own documents say the rest, and what they add passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway import __version__
from gateway.endpoints import HOT, OWN_KEY
from gateway.errors import REFUSALS
from gateway.server.admin import Field, Route
from gateway.server.schemas import SCHEMAS

_JSON, _EVENTS = "application/json", "text/event-stream"
_APPLICATIONS = [{"url": "http://127.0.0.1:8080", "description": "[server]: where applications ask"}]
_ADMINS = [{"url": "http://127.0.0.1:9091", "description": "[admin]: where admins ask"}]
_ANTHROPIC = ("messages", "count_tokens")
_WORDS = {
    "chat": "Chat", "completions": "Complete a text", "embeddings": "Embed texts", "responses": "Make a response",
    "input_tokens": "Count the tokens of a response's input", "messages": "Make a message",
    "count_tokens": "Count the tokens of a message's input",
}  # fmt: skip
# What a body must have, as far as the gateway reads it. All else passes as it came.
_READ: Mapping[str, Mapping[str, Any]] = {
    "model": {"type": "string", "minLength": 1},
    "stream": {"type": ["boolean", "null"]},
}
_STREAMS = ("chat", "completions", "responses", "messages")
_FAILURES = (500, 502, 503, 504)
_ERRORS = {
    "AnyError": "An error in OpenAI's words, or in Anthropic's if the client sends anthropic-version",
    "AnthropicError": "An error in Anthropic's words",
    "AdminError": "An error",
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """OpenAPI 3.1.1, as JSON values."""
    paths: dict[str, Any] = {
        OWN_KEY: {"servers": _APPLICATIONS, "get": _own("key", "What this key may do and what is left of it", "Key")},
        "/v1/models": {"servers": _APPLICATIONS, "get": _own("models", "The models that this key may use", "Models")},
        "/v1/models/{model}": {
            "servers": _APPLICATIONS,
            "get": {
                **_own("model", "One of them", "Model"),
                "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}],
            },
        },
    }
    for path, shape in HOT.items():
        paths[f"/v1{path}"] = {"servers": _APPLICATIONS, "post": _read(shape)}
    for route in routes:
        paths.setdefault(route.path, {"servers": _ADMINS})[route.method.lower()] = _admin(route)
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "LLM gateway",
            "version": __version__,
            "description": "What the gateway answers itself, and the paths whose requests it reads. Every other path "
            "below /v1 passes to the provider, if the key may use it.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": {
                name: {"description": words, "content": {_JSON: {"schema": _named(name)}}}
                for name, words in _ERRORS.items()
            },
            "securitySchemes": {
                "key": {**bearer, "description": "A key; x-api-key and api-key carry it as well"},
                "admin": {**bearer, "description": "A token of [admin.tokens]"},
            },
        },
    }


def _own(name: str, words: str, schema: str) -> dict[str, Any]:
    """What is answered without a provider."""
    errors = {str(status): _shown("AnyError") for status in (400, 401, 403, 404, 429, 500, 503)}
    return {
        "operationId": name, "summary": words, "tags": ["applications"], "security": [{"key": []}],
        "responses": {"200": _shown(schema), **errors},
    }  # fmt: skip


def _read(shape: str) -> dict[str, Any]:
    """A call that goes to a provider. An error is in the words of the path's dialect, or of the one that the client
    names by `anthropic-version`."""
    error = "AnthropicError" if shape in _ANTHROPIC else "AnyError"
    answer: dict[str, Any] = {_JSON: {"schema": {"type": "object"}}}
    if shape in _STREAMS:
        answer[_EVENTS] = {}
    failures = [*_refusals(), *_FAILURES, *([529] if shape in _ANTHROPIC else [])]
    properties = _READ if shape in _STREAMS else {"model": _READ["model"]}
    schema = {"type": "object", "required": ["model"], "properties": properties}
    return {
        "operationId": shape, "summary": _WORDS[shape], "tags": ["applications"], "security": [{"key": []}],
        "requestBody": {"required": True, "content": {_JSON: {"schema": schema}}},
        "responses": {
            "200": {"description": "The model's answer", "content": answer},
            **{str(status): _shown(error) for status in failures},
        },
    }  # fmt: skip


def _admin(route: Route) -> dict[str, Any]:
    statuses = [400, 401, 403]
    if route.method != "GET":
        statuses.append(413)
    if route.told is not None:
        statuses.append(503)
    else:
        statuses.append(409)
    content = {_JSON: {"schema": _named(route.shows)}}
    if any(one.name == "format" for one in route.query):
        content["text/csv"] = {"schema": {"type": "string"}}
    told: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{route.path.rpartition('/v1/')[2].replace('/', '_').partition('.')[0]}",
        "summary": route.words[0].upper() + route.words[1:],
        "description": f"Rights: {', '.join(sorted(route.rights))}.",
        "tags": ["admin"],
        "security": [{"admin": []}],
    }
    if route.query:
        told["parameters"] = [
            {"name": one.name, "in": "query", "description": one.words, "required": one.needed, "schema": one.schema}
            for one in route.query
        ]
    if route.method != "GET":
        told["requestBody"] = {
            "required": bool(route.body), "content": {_JSON: {"schema": _object_of(route.body)}}
        }  # fmt: skip
    told["responses"] = {
        "200": {"description": "Done" if route.method != "GET" else "As asked", "content": content},
        **{str(status): _shown("AdminError") for status in sorted(statuses)},
    }
    return told


def _object_of(fields: Sequence[Field]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {one.name: {**one.schema, "description": one.words} for one in fields},
        "required": [one.name for one in fields if one.needed],
        "additionalProperties": False,
    }


def _refusals() -> list[int]:
    """The statuses of refusals that a path may meet; a wrong method and an upgrade are no request of it."""
    return sorted({wire.status for wire in REFUSALS.values()} - {405, 501} | {408})


def _shown(name: str) -> dict[str, Any]:
    if name in _ERRORS:
        return {"$ref": f"#/components/responses/{name}"}
    return {"description": "As asked", "content": {_JSON: {"schema": _named(name)}}}


def _named(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
