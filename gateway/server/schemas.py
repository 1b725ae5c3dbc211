"""The JSON Schemas of what the gateway answers itself, by name. A member that stands here and no other may be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}


def _object(members: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """`members` are always there."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _const(value: str) -> Schema:
    return {"const": value}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_POLICY_KEY = _object({"name": _TEXT, "id": _TEXT, "team": _TEXT_OR_NULL, "tenant": _TEXT, "rule": _TEXT})
_STANDING: Mapping[str, Schema] = {
    "scope": _TEXT,
    "limit": _TEXT,
    "amount": _NUMBER,
    "used": _NUMBER,
    "remaining": _NUMBER,
    "resets_in": {"type": ["number", "null"], "description": "seconds"},
    "resets_at": _TEXT_OR_NULL,
    "shadow": _FLAG,
}
_SOMETIMES: Mapping[str, Schema] = {
    "burst": _COUNT,
    "at_limit": {"enum": ["finish", "cut", "strict"]},
    "exception": _object({"policy": _NUMBER, "until": _TEXT}),
    "rule": {"type": "string", "description": "file:line of the policy; for admins"},
}
_OPENAI_MODEL = _object({"id": _TEXT, "object": _const("model"), "created": _COUNT, "owned_by": _TEXT})
_ANTHROPIC_MODEL = _object({"type": _const("model"), "id": _TEXT, "display_name": _TEXT, "created_at": _TEXT})

SCHEMAS: Mapping[str, Schema] = {
    "Error": _object({
        "error": _object({"message": _TEXT, "type": _TEXT, "param": _TEXT_OR_NULL, "code": _TEXT_OR_NULL}),
    }),
    "AnthropicError": _object({
        "type": _const("error"), "error": _object({"type": _TEXT, "message": _TEXT}), "request_id": _TEXT,
    }),
    "AnyError": {"oneOf": [_ref("Error"), _ref("AnthropicError")]},
    "AdminError": _object({"error": _object({"code": _TEXT, "message": _TEXT}, {"mistakes": _list(_TEXT)})}),
    "Standing": _object(_STANDING, _SOMETIMES),
    "Key": _object({
        "object": _const("gateway.key"), "id": _TEXT, "name": _TEXT, "secret": _TEXT_OR_NULL, "team": _TEXT_OR_NULL,
        "tenant": _TEXT, "expires": _TEXT_OR_NULL, "disabled": _list(_TEXT), "models": _list(_list(_TEXT)),
        "endpoints": _list(_list(_TEXT)), "redaction": _TEXT_OR_NULL,
        "request": _object({"max": {"type": "object"}, "force": {"type": "object"}, "deny": _list(_TEXT)}),
        "limits": _list(_ref("Standing")),
        "limits_each": _list(_object({"scope": _TEXT, "each": _TEXT, "limit": _TEXT, "amount": _NUMBER})),
    }),
    "Model": {"oneOf": [_OPENAI_MODEL, _ANTHROPIC_MODEL]},
    "Models": {"oneOf": [
        _object({"object": _const("list"), "data": _list(_OPENAI_MODEL)}),
        _object({
            "data": _list(_ANTHROPIC_MODEL), "has_more": _FLAG, "first_id": _TEXT_OR_NULL, "last_id": _TEXT_OR_NULL,
        }),
    ]},
    "Status": _object({
        "version": _TEXT, "policy": _TEXT, "policies_loaded_at": {"type": ["number", "string"]},
        "degraded": _list(_TEXT), "running": _COUNT, "settlements_waiting": _COUNT, "store_away": _FLAG,
    }),
    "Policies": _object({
        "policy": _TEXT, "keys": _list(_POLICY_KEY), "models": _list(_TEXT), "not_enforced": _list(_TEXT),
        "warnings": _list(_TEXT),
    }),
    "Reloaded": _object({"policy": _TEXT}),
    "Usage": _object({
        "by": _TEXT,
        "rows": _list(_object({
            "day": {"type": "string", "format": "date"}, "scope": _TEXT, "requests": {"type": "integer"},
            "tokens": {"type": "integer"}, "usd": _NUMBER, "nano_usd": {"type": "integer"},
        })),
    }),
    "KeyLimits": _object({
        "key": _TEXT, "id": _TEXT, "team": _TEXT_OR_NULL, "tenant": _TEXT, "limits": _list(_ref("Standing")),
    }),
    "Exceptions": _object({
        "exceptions": _list(_object({
            "tenant": _TEXT, "scope": _TEXT, "limit": _TEXT, "kind": {"enum": ["raise", "reset", "lift"]},
            "amount": _NUMBER, "until": _TEXT_OR_NULL, "by": _TEXT, "at": _TEXT, "reason": _TEXT,
        })),
    }),
    "Changes": _object({
        "changes": _list(_object({
            "words": _TEXT, "scope": _TEXT, "limit": _TEXT, "until": _TEXT_OR_NULL, "before": _ref("Standing"),
            "after": _ref("Standing"),
        })),
    }),
    "Document": {"type": "object"},
}  # fmt: skip
