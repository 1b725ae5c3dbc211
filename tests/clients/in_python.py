"""One client package at work against a gateway, run in the environment of requirements/clients.txt:

    python in_python.py CLIENT URL KEY BUDGET_KEY

It prints one JSON object: case → what came of it. `KEY` may use the model `chat` and those of `echo/…`; `BUDGET_KEY`
may make one request, and no second. What is asked for is what the echo model repeats.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLIENT, URL, KEY, BUDGET_KEY = sys.argv[1:]
V1 = f"{URL}/v1"
WORDS = "Grüße an Ada, und an alle anderen auch."
LONG = "a word and " * 400
PERSON = '{"name": "Ada"}'
SCHEMA: dict[str, Any] = {
    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False,
}  # fmt: skip
DOWN, SLOW = "echo/status-503", "echo/slow"
Cases = dict[str, Callable[[], Any]]


def named(error: BaseException) -> str:
    """The class of an error, by the name that its users catch."""
    return type(error).__name__


def raised(call: Callable[[], Any]) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001  # which one is what is asked
        return named(error)
    return "nothing"


def twice(call: Callable[[], Any]) -> str:
    call()
    return raised(call)


def openai_sdk() -> Cases:
    import openai
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str

    def made(key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=V1, api_key=key)

    client = made()
    messages: Any = [{"role": "user", "content": WORDS}]
    tool: Any = {"type": "function", "function": {"name": "greet", "parameters": SCHEMA}}

    def abort() -> str:
        stream = client.chat.completions.create(model=SLOW, messages=[{"role": "user", "content": LONG}], stream=True)
        first = next(iter(stream))
        stream.close()
        return first.object

    def call() -> Any:
        found = client.chat.completions.create(model="chat", messages=messages, tools=[tool], tool_choice="required")
        return json.loads(found.choices[0].message.tool_calls[0].function.arguments)["name"]

    return {
        "chat": lambda: client.chat.completions.create(model="chat", messages=messages).choices[0].message.content,
        "stream": lambda: "".join(
            one.choices[0].delta.content or ""
            for one in client.chat.completions.create(model="chat", messages=messages, stream=True)
            if one.choices
        ),
        "tools": call,
        "structured": lambda: client.chat.completions.parse(
            model="chat", messages=[{"role": "user", "content": PERSON}], response_format=Person
        ).choices[0].message.parsed.name,
        "responses": lambda: client.responses.create(model="chat", input=WORDS).output_text,
        "embeddings": lambda: len(client.embeddings.create(model="chat", input=["a", "b"]).data),
        "error": lambda: raised(lambda: client.chat.completions.create(model="nobody", messages=messages)),
        "retries": lambda: raised(lambda: client.chat.completions.create(model=DOWN, messages=messages)),
        "budget": lambda: twice(lambda: made(BUDGET_KEY).chat.completions.create(model="chat", messages=messages)),
        "abort": abort,
    }  # fmt: skip


def anthropic_sdk() -> Cases:
    import anthropic

    def made(key: str = KEY) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=URL, api_key=key)

    client = made()
    messages: Any = [{"role": "user", "content": WORDS}]
    asked: Any = {"model": "chat", "max_tokens": 1000, "messages": messages}

    def stream() -> str:
        with client.messages.stream(**asked) as events:
            return "".join(events.text_stream)

    def call() -> Any:
        tool: Any = {"name": "greet", "input_schema": SCHEMA}
        found = client.messages.create(**asked, tools=[tool], tool_choice={"type": "any"})
        return next(block for block in found.content if block.type == "tool_use").input["name"]

    def abort() -> str:
        long = [{"role": "user", "content": LONG}]
        events = client.messages.create(model=SLOW, max_tokens=9999, messages=long, stream=True)
        first = next(iter(events))
        events.close()
        return first.type

    return {
        "chat": lambda: client.messages.create(**asked).content[0].text,
        "stream": stream,
        "tools": call,
        "structured": lambda: json.loads(
            client.messages.create(
                **{**asked, "messages": [{"role": "user", "content": PERSON}]},
                output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
            ).content[0].text
        )["name"],
        "models": lambda: [one.type for one in client.models.list()][:1],
        "count": lambda: client.messages.count_tokens(model="chat", messages=messages).input_tokens > 0,
        "error": lambda: raised(lambda: client.messages.create(**{**asked, "model": "nobody"})),
        "retries": lambda: raised(lambda: client.messages.create(**{**asked, "model": DOWN})),
        "budget": lambda: twice(lambda: made(BUDGET_KEY).messages.create(**asked)),
        "abort": abort,
    }  # fmt: skip


def _langchain(made: Callable[..., Any], *, embeddings: Callable[[], Any] | None) -> Cases:
    from pydantic import BaseModel

    class Person(BaseModel):
        """A person."""

        name: str

    def abort() -> str:
        events = made(model=SLOW).stream(LONG)
        next(events)
        events.close()
        return "closed"

    cases: Cases = {
        "chat": lambda: made().invoke(WORDS).text,
        "stream": lambda: "".join(one.text for one in made().stream(WORDS)),
        "tools": lambda: made().bind_tools([Person], tool_choice="any").invoke(WORDS).tool_calls[0]["args"]["name"],
        "structured": lambda: made().with_structured_output(Person, method="function_calling").invoke("Ada").name,
        "error": lambda: raised(lambda: made(model="nobody").invoke(WORDS)),
        "retries": lambda: raised(lambda: made(model=DOWN).invoke(WORDS)),
        "budget": lambda: twice(lambda: made(api_key=BUDGET_KEY).invoke(WORDS)),
        "abort": abort,
    }
    if embeddings is not None:
        cases["embeddings"] = embeddings
    return cases


def langchain_openai() -> Cases:
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    def made(**more: Any) -> Any:
        return ChatOpenAI(**{"base_url": V1, "api_key": KEY, "model": "chat", **more})

    embedder = OpenAIEmbeddings(base_url=V1, api_key=KEY, model="chat", check_embedding_ctx_length=False)
    return _langchain(made, embeddings=lambda: len(embedder.embed_documents(["a", "b"])))


def langchain_anthropic() -> Cases:
    from langchain_anthropic import ChatAnthropic

    def made(**more: Any) -> Any:
        return ChatAnthropic(**{"base_url": URL, "api_key": KEY, "model": "chat", "max_tokens": 1000, **more})

    return _langchain(made, embeddings=None)


def llama_index() -> Cases:
    from llama_index.core.tools import FunctionTool
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.llms.openai_like import OpenAILike
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str

    def made(model: str = "chat", key: str = KEY) -> Any:
        return OpenAILike(
            model=model, api_base=V1, api_key=key, is_chat_model=True, is_function_calling_model=True, max_retries=2
        )

    def greet(name: str) -> str:
        """Greet somebody."""
        return name

    def call() -> Any:
        found = made().chat_with_tools([FunctionTool.from_defaults(fn=greet)], WORDS, tool_required=True)
        return made().get_tool_calls_from_response(found)[0].tool_kwargs["name"]

    def abort() -> str:
        events = made(SLOW).stream_complete(LONG)
        next(events)
        events.close()
        return "closed"

    embedder = OpenAIEmbedding(api_base=V1, api_key=KEY, model_name="chat")
    return {
        "chat": lambda: made().complete(WORDS).text,
        "stream": lambda: "".join(one.delta or "" for one in made().stream_complete(WORDS)),
        "tools": call,
        "structured": lambda: made().as_structured_llm(Person).complete("Ada").raw.name,
        "embeddings": lambda: len(embedder.get_text_embedding_batch(["a", "b"])),
        "error": lambda: raised(lambda: made("nobody").complete(WORDS)),
        "retries": lambda: raised(lambda: made(DOWN).complete(WORDS)),
        "budget": lambda: twice(lambda: made(key=BUDGET_KEY).complete(WORDS)),
        "abort": abort,
    }


def pydantic_ai() -> Cases:
    import asyncio

    from pydantic import BaseModel
    from pydantic_ai import Agent, Embedder
    from pydantic_ai.direct import model_request_stream, model_request_sync
    from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
    from pydantic_ai.messages import ModelRequest
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.tools import ToolDefinition

    class Person(BaseModel):
        name: str

    provider = OpenAIProvider(base_url=V1, api_key=KEY)

    def made(model: str = "chat", key: str = KEY, **more: Any) -> Any:
        return Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=V1, api_key=key)), **more)

    def stream() -> str:
        return "".join(made().run_stream_sync(WORDS).stream_text(delta=True))

    def call() -> Any:
        asked = ModelRequestParameters(
            function_tools=[ToolDefinition(name="greet", parameters_json_schema=SCHEMA)], allow_text_output=False
        )
        found = model_request_sync(
            OpenAIChatModel("chat", provider=provider), [ModelRequest.user_text_prompt(WORDS)],
            model_request_parameters=asked,
        )  # fmt: skip
        return found.tool_calls[0].args_as_dict()["name"]

    async def left() -> str:
        model = OpenAIChatModel(SLOW, provider=OpenAIProvider(base_url=V1, api_key=KEY))
        async with model_request_stream(model, [ModelRequest.user_text_prompt(LONG)]) as events:
            await anext(aiter(events))
        return "closed"

    def embed() -> int:
        model = OpenAIEmbeddingModel("chat", provider=OpenAIProvider(base_url=V1, api_key=KEY))
        return len(Embedder(model).embed_documents_sync(["a", "b"]).embeddings)

    return {
        "chat": lambda: made().run_sync(WORDS).output,
        "stream": stream,
        "tools": call,
        "structured": lambda: made(output_type=Person).run_sync("Ada").output.name,
        "embeddings": embed,
        "error": lambda: raised(lambda: made("nobody").run_sync(WORDS)),
        "retries": lambda: raised(lambda: made(DOWN).run_sync(WORDS)),
        "budget": lambda: twice(lambda: made(key=BUDGET_KEY).run_sync(WORDS)),
        "abort": lambda: asyncio.run(left()),
    }


def instructor() -> Cases:
    import instructor as package
    import openai
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str

    def asked(model: str = "chat", key: str = KEY, words: str = "Ada", **more: Any) -> Any:
        client = package.from_openai(openai.OpenAI(base_url=V1, api_key=key), **more)
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": words}], response_model=Person, max_retries=1
        )

    def parts() -> Any:
        client = package.from_openai(openai.OpenAI(base_url=V1, api_key=KEY))
        return client.chat.completions.create_partial(
            model="chat", messages=[{"role": "user", "content": WORDS}], response_model=Person
        )

    # No end in mid-stream: it has read the whole stream before it hands out the first part. No embeddings either.
    return {
        "stream": lambda: list(parts())[-1].name,
        "tools": lambda: asked(words=WORDS).name,
        "structured": lambda: asked(words=PERSON, mode=package.Mode.JSON).name,
        "error": lambda: raised(lambda: asked("nobody")),
        "retries": lambda: raised(lambda: asked(DOWN)),
        "budget": lambda: twice(lambda: asked(key=BUDGET_KEY)),
    }


def litellm() -> Cases:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm as package

    package.suppress_debug_info = True

    def asked(model: str = "openai/chat", key: str = KEY, **more: Any) -> Any:
        more.setdefault("messages", [{"role": "user", "content": WORDS}])
        return package.completion(model=model, api_base=V1, api_key=key, **more)

    def call() -> Any:
        tool = {"type": "function", "function": {"name": "greet", "parameters": SCHEMA}}
        found = asked(tools=[tool], tool_choice="required")
        return json.loads(found.choices[0].message.tool_calls[0].function.arguments)["name"]

    def abort() -> str:
        events = asked(f"openai/{SLOW}", messages=[{"role": "user", "content": LONG}], stream=True)
        next(events)
        events.completion_stream.close()
        return "closed"

    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    return {
        "chat": lambda: asked().choices[0].message.content,
        "stream": lambda: "".join(one.choices[0].delta.content or "" for one in asked(stream=True)),
        "tools": call,
        "structured": lambda: json.loads(
            asked(messages=[{"role": "user", "content": PERSON}], response_format=form).choices[0].message.content
        )["name"],
        "messages": lambda: package.completion(
            model="anthropic/chat", api_base=URL, api_key=KEY, messages=[{"role": "user", "content": WORDS}]
        ).choices[0].message.content,
        "embeddings": lambda: len(
            package.embedding(model="openai/chat", api_base=V1, api_key=KEY, input=["a", "b"]).data
        ),
        "error": lambda: raised(lambda: asked("openai/nobody")),
        "retries": lambda: raised(lambda: asked(f"openai/{DOWN}", max_retries=2)),
        "budget": lambda: twice(lambda: asked(key=BUDGET_KEY)),
        "abort": abort,
    }  # fmt: skip


def llm() -> Cases:
    folder = Path(tempfile.mkdtemp())
    models = ["chat", "nobody", DOWN, SLOW]
    (folder / "extra-openai-models.yaml").write_text(
        "".join(
            f"- model_id: gw-{name}\n  model_name: {name}\n  api_base: {V1}\n  api_key_name: gw\n"
            "  supports_schema: true\n  supports_tools: true\n"
            for name in models
        )
    )

    command = str(Path(sys.executable).with_name("llm"))
    environ = {**os.environ, "LLM_USER_PATH": str(folder)}

    def run(*arguments: str, key: str = KEY) -> str:
        done = subprocess.run(
            [command, *arguments, "--key", key, "--no-log"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=50, env=environ,
        )  # fmt: skip
        return done.stdout.strip() if done.returncode == 0 else f"exit {done.returncode}: {done.stderr.strip()[:200]}"

    def spent() -> str:
        run("-m", "gw-chat", "--no-stream", WORDS, key=BUDGET_KEY)
        return run("-m", "gw-chat", "--no-stream", WORDS, key=BUDGET_KEY)

    def call() -> str:
        """The echo model calls a tool only where it is told to, which the command cannot: the key's policy does. So
        it calls again when it has the answer, and the command stops at the second."""
        told = folder / "told"
        function = f"def greet(name: str) -> str:\n    open({str(told)!r}, 'w').write(name)\n    return name\n"
        run("-m", "gw-chat", "--no-stream", "--functions", function, "--chain-limit", "2", WORDS)
        return told.read_text("utf-8")

    def embed() -> int:
        """Of embeddings the command knows only OpenAI's own models, by the SDK's own variables."""
        found = [
            subprocess.run(
                [command, "embed", "-m", "text-embedding-3-small", "-c", words], stdin=subprocess.DEVNULL,
                capture_output=True, text=True, check=True, timeout=50,
                env={**environ, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": V1},
            ).stdout
            for words in ("a", "b")
        ]  # fmt: skip
        return len([json.loads(one)[0] for one in found])

    def abort() -> str:
        with subprocess.Popen(
            [command, "-m", f"gw-{SLOW}", LONG, "--key", KEY, "--no-log"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ,
        ) as running:  # fmt: skip
            assert running.stdout is not None
            running.stdout.read(1)
            running.terminate()
        return "closed"

    return {
        "chat": lambda: run("-m", "gw-chat", "--no-stream", WORDS),
        "stream": lambda: run("-m", "gw-chat", WORDS),
        "tools": call,
        "structured": lambda: json.loads(run("-m", "gw-chat", "--no-stream", "--schema", json.dumps(SCHEMA), PERSON))[
            "name"
        ],
        "error": lambda: run("-m", "gw-nobody", WORDS),
        "embeddings": embed,
        "retries": lambda: run("-m", f"gw-{DOWN}", "--no-stream", WORDS),
        "budget": spent,
        "abort": abort,
    }


CLIENTS = {
    one.__name__: one
    for one in (
        openai_sdk, anthropic_sdk, langchain_openai, langchain_anthropic, llama_index, pydantic_ai, instructor, litellm,
        llm,
    )
}  # fmt: skip

if __name__ == "__main__":
    found = {}
    for case, work in CLIENTS[CLIENT]().items():
        try:
            found[case] = work()
        except Exception:  # noqa: BLE001  # the test shows it
            found[case] = traceback.format_exc()[-1500:]
    print(json.dumps(found))
