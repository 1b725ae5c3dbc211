"""OpenAI's `tool_choice`, of chat and of Responses alike: which tools may be called, and which must be. Pure."""

from __future__ import annotations

from gateway.translation.losses import Untranslatable
from gateway.translation.neutral import Choice, Tool


def chosen(value: object, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], Choice | None]:
    """The tools that are left to call, and the choice among them: of `allowed_tools`, other dialects are told of no
    others. Raises Untranslatable."""
    choice: Choice | None = None
    match value:
        case None | "auto" | "none":
            choice = None if value is None else Choice("auto" if value == "auto" else "none")
        case "required":
            choice = Choice("any")
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            choice = Choice("tool", name)
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(allowed)},
        } | {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(allowed)}:
            choice = Choice("auto" if mode == "auto" else "any")
            tools = _among(tools, allowed)
        case _:
            raise Untranslatable("tool_choice", "'tool_choice' must be auto, none, required, a function's name or "
                                 "allowed_tools of functions: the provider's dialect has no other.")  # fmt: skip
    needs_tools(choice, tools)
    return tools, choice


def _among(tools: tuple[Tool, ...], allowed: list[object]) -> tuple[Tool, ...]:
    names = {_function_name(one) for one in allowed}
    if not names or not names <= {tool.name for tool in tools}:
        raise Untranslatable("tool_choice", "The allowed_tools of 'tool_choice' must be functions of 'tools'.")
    return tuple(tool for tool in tools if tool.name in names)


def _function_name(value: object) -> str | None:
    match value:
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            return name
    return None


def needs_tools(choice: Choice | None, tools: tuple[Tool, ...]) -> None:
    """Raises Untranslatable where a tool must be called and there is none."""
    if choice is None or choice.mode in ("auto", "none"):
        return
    if not tools or (choice.mode == "tool" and choice.name not in {tool.name for tool in tools}):
        raise Untranslatable("tool_choice", "'tool_choice' asks for a call of a tool that does not stand in 'tools'.")
