"""What is said of paths that lead nowhere, and what they were probably meant to be. Pure.

Below /v1 a path without a name here may be a provider's newest, which policy can open (`other`), so only what is
nearly one of ours is taken for a slip, and only where policy does not open it.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from gateway.endpoints import HOT, NAMES, OTHER, OWN_METHODS, Endpoint, find
from gateway.errors import Reason, Refusal, Rule

SIMILAR = 0.8  # of 1: a letter or two of a word
SHOWN = 200  # characters of a path
STORED = "/chat/completions"  # GET lists what is stored: a call that there is
_THERE = (f"{STORED}/", "/responses/", "/messages/batches/")  # what providers have below a hot path
_WORDS = NAMES - {OTHER, "message_batches", "stored_completions", "stored_embeddings", "stored_responses"}


def unserved(method: str, path: str) -> Refusal:
    """The refusal of what `find` does not know: a path, or a method of one of our own."""
    if (allowed := OWN_METHODS.get(path)) is not None:
        words = f"{path} takes {' and '.join(allowed)}."
        return Refusal(Reason.METHOD_NOT_ALLOWED, words, allow=allowed)
    segments = [segment for segment in path.split("/") if segment]
    below = segments[len(segments) - segments[::-1].index("v1") :] if "v1" in segments else segments
    meant = _near(f"/{'/'.join(segments)}", OWN_METHODS) or _known("/" + "/".join(below))
    why = ""
    if meant is not None and segments.count("v1") > 1:
        why = " /v1 is in it twice: this client's base URL ends before /v1."
    elif meant is not None and "v1" not in segments:
        why = " This client's base URL ends in /v1."
    return _unknown(method, path, meant, why)


def slip(endpoint: Endpoint, rule: Rule) -> Refusal | None:
    """The refusal of a path below /v1 that its key may not use and that was probably meant to be another. `rule` is
    what does not open it."""
    path = unquote(endpoint.path).removesuffix("/")
    if endpoint.visible or (path == STORED and endpoint.method in ("GET", "HEAD")):
        return None
    if path in HOT:
        return _unknown(endpoint.method, f"/v1{endpoint.path}", f"POST /v1{path}", "", rule)
    if f"{path}/".startswith(_THERE):
        return None
    first = path.split("/")[1]
    if endpoint.name != OTHER and first not in {one.split("/")[1] for one in HOT}:
        return None
    meant = _known(path)
    return _unknown(endpoint.method, f"/v1{endpoint.path}", meant, "", rule) if meant is not None else None


def _known(path: str) -> str | None:
    """The path below /v1 that this one is, nearly is, or begins."""
    near = path if path in HOT else _near(path, HOT) or next((one for one in HOT if one.startswith(f"{path}/")), None)
    if near is not None:
        return f"/v1{near}"
    found = find("GET", f"/v1{path}")
    if found is not None and found.name != OTHER:
        return f"/v1{path[:SHOWN]}"
    first = _near(path[1:].partition("/")[0], _WORDS)
    return f"/v1/{first}" if first is not None else None


def _near(word: str, words: Iterable[str]) -> str | None:
    import difflib  # noqa: PLC0415  # only where somebody mistyped

    return next(iter(difflib.get_close_matches(word[:SHOWN], sorted(words), n=1, cutoff=SIMILAR)), None)


def _unknown(method: str, path: str, meant: str | None, why: str, rule: Rule | None = None) -> Refusal:
    hint = f", did you mean {meant}?{why}" if meant is not None else "."
    return Refusal(Reason.UNKNOWN_PATH, f"Unknown request URL: {method} {path[:SHOWN]}{hint}", rule=rule)
