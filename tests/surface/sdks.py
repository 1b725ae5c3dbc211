"""The official SDKs, whole: their clients, the methods of their resources, and what a call of one comes to."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import anthropic
import openai

RAW = ("with_raw_response", "with_streaming_response")
MOST = 50  # items of an iterator that are taken


@dataclass
class Wire:
    """What passed between a client and its server, answer by answer."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)


def client(library: ModuleType, url: str, key: str, wire: Wire) -> Any:
    """The SDK's own client, on a transport of its own library that also keeps what it read."""
    name = "httpx2" if "httpx2" in str(inspect.getmodule(library.DefaultHttpxClient.__mro__[1])) else "httpx"
    http: Any = __import__(name)

    class Kept(http.SyncByteStream):  # type: ignore[misc]  # of either library
        def __init__(self, inner: Any, parts: list[bytes], done: Callable[[], None]) -> None:
            self._inner, self._parts, self._done = inner, parts, done

        def __iter__(self) -> Iterator[bytes]:
            for part in self._inner:
                self._parts.append(part)
                yield part

        def close(self) -> None:
            self._done()
            self._inner.close()

    class Transport(http.HTTPTransport):  # type: ignore[misc]  # of either library
        def handle_request(self, request: Any) -> Any:
            response = super().handle_request(request)
            parts: list[bytes] = []
            passed = ("content-type", "location", "content-disposition")
            headers = {one: response.headers[one] for one in passed if one in response.headers}
            entry = len(wire.answers)
            wire.answers.append((response.status_code, headers, b""))

            def done() -> None:
                wire.answers[entry] = (response.status_code, headers, b"".join(parts))

            response.stream = Kept(response.stream, parts, done)
            return response

    options: dict[str, Any] = {"max_retries": 0, "http_client": http.Client(transport=Transport(), timeout=20)}
    if library is openai:
        return openai.OpenAI(
            base_url=f"{url}/v1", api_key=key, admin_api_key=key, webhook_secret="whsec_c2VjcmV0", **options
        )
    return anthropic.Anthropic(base_url=url, api_key=key, **options)


def methods(made: Any, library: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public method of every resource of a client, by its path: `chat.completions.create`."""
    resources = f"{library.__name__}.resources"

    def below(one: Any, path: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        for name in sorted(dir(type(one))):
            if name.startswith("_") or name in RAW:
                continue
            value = getattr(one, name)
            if type(value).__module__.startswith(resources):
                yield from below(value, f"{path}{name}.")
            elif one is not made and inspect.ismethod(value):
                yield path + name, value

    yield from below(made, "")


@contextmanager
def quiet() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is deprecated still works
        yield


def outcome(method: Callable[..., Any], arguments: dict[str, Any]) -> tuple[str, ...]:
    """What a caller gets of a call: the types of it, and of what is in it, or the error."""
    try:
        with quiet():
            return ("got", *taken(method(**arguments)))
    except Exception as error:  # noqa: BLE001  # what is raised is what is compared
        return ("raised", type(error).__name__, str(error)[:300])


def taken(result: Any) -> Iterator[str]:
    yield type(result).__name__
    if hasattr(result, "__enter__") and not hasattr(result, "__iter__"):  # the manager of a stream
        with result as entered:
            yield from taken(entered)
    elif hasattr(result, "__next__"):
        try:
            for _, item in zip(range(MOST), result, strict=False):
                yield _named(item)
        finally:  # of a stream that is not read to its end, the connection would be left to the collector
            if (close := getattr(result, "close", None)) is not None:
                close()
    elif hasattr(result, "read"):
        yield repr(result.read())
    elif hasattr(result, "model_dump"):
        yield str(result.model_dump())


def _named(item: object) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(item))
