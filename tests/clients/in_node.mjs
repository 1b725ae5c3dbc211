// One client package at work against a gateway: node in_node.mjs CLIENT URL KEY BUDGET_KEY
// It prints one JSON object: case → what came of it. See in_python.py.
import process from "node:process";

const [client, url, key, budgetKey] = process.argv.slice(2);
const v1 = `${url}/v1`;
const words = "Grüße an Ada, und an alle anderen auch.";
const long = "a word and ".repeat(400);
const person = '{"name": "Ada"}';
const schema = { type: "object", properties: { name: { type: "string" } }, required: ["name"], additionalProperties: false };
const down = "echo/status-503";
const slow = "echo/slow";

async function raised(call) {
  try {
    await call();
  } catch (error) {
    return error.constructor.name;
  }
  return "nothing";
}

async function twice(call) {
  await call();
  return raised(call);
}

async function openai() {
  const { default: OpenAI } = await import("openai");
  const { zodResponseFormat } = await import("openai/helpers/zod");
  const { z } = await import("zod");
  const made = (apiKey = key) => new OpenAI({ baseURL: v1, apiKey });
  const messages = [{ role: "user", content: words }];
  const ask = (more = {}, own = made()) => own.chat.completions.create({ model: "chat", messages, ...more });
  const tool = { type: "function", function: { name: "greet", parameters: schema } };
  return {
    chat: async () => (await ask()).choices[0].message.content,
    stream: async () => {
      let text = "";
      for await (const one of await ask({ stream: true })) text += one.choices[0]?.delta?.content ?? "";
      return text;
    },
    tools: async () => {
      const found = await ask({ tools: [tool], tool_choice: "required" });
      return JSON.parse(found.choices[0].message.tool_calls[0].function.arguments).name;
    },
    structured: async () => {
      const format = zodResponseFormat(z.object({ name: z.string() }), "person");
      const asked = { model: "chat", messages: [{ role: "user", content: person }], response_format: format };
      return (await made().chat.completions.parse(asked)).choices[0].message.parsed.name;
    },
    responses: async () => (await made().responses.create({ model: "chat", input: words })).output_text,
    embeddings: async () => (await made().embeddings.create({ model: "chat", input: ["a", "b"] })).data.length,
    error: () => raised(() => ask({ model: "nobody" })),
    retries: () => raised(() => ask({ model: down })),
    budget: () => twice(() => ask({}, made(budgetKey))),
    abort: async () => {
      const stream = await ask({ model: slow, messages: [{ role: "user", content: long }], stream: true });
      for await (const one of stream) {
        stream.controller.abort();
        return one.object;
      }
    },
  };
}

async function anthropic() {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const made = (apiKey = key) => new Anthropic({ baseURL: url, apiKey });
  const messages = [{ role: "user", content: words }];
  const ask = (more = {}, own = made()) => own.messages.create({ model: "chat", max_tokens: 1000, messages, ...more });
  return {
    chat: async () => (await ask()).content[0].text,
    stream: async () => made().messages.stream({ model: "chat", max_tokens: 1000, messages }).finalText(),
    tools: async () => {
      const found = await ask({ tools: [{ name: "greet", input_schema: schema }], tool_choice: { type: "any" } });
      return found.content.find((one) => one.type === "tool_use").input.name;
    },
    structured: async () => {
      const format = { format: { type: "json_schema", schema } };
      return JSON.parse((await ask({ messages: [{ role: "user", content: person }], output_config: format })).content[0].text).name;
    },
    count: async () => (await made().messages.countTokens({ model: "chat", messages })).input_tokens > 0,
    error: () => raised(() => ask({ model: "nobody" })),
    retries: () => raised(() => ask({ model: down })),
    budget: () => twice(() => ask({}, made(budgetKey))),
    abort: async () => {
      const stream = await ask({ model: slow, max_tokens: 9999, messages: [{ role: "user", content: long }], stream: true });
      for await (const one of stream) {
        stream.controller.abort();
        return one.type;
      }
    },
  };
}

async function ai() {
  const { createOpenAI } = await import("@ai-sdk/openai");
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  const { embedMany, generateObject, generateText, streamText, tool } = await import("ai");
  const { z } = await import("zod");
  const made = (apiKey = key) => createOpenAI({ baseURL: v1, apiKey });
  const claude = createAnthropic({ baseURL: v1, apiKey: key });
  const greet = tool({ description: "Greet somebody.", inputSchema: z.object({ name: z.string() }) });
  return {
    chat: async () => (await generateText({ model: made().chat("chat"), prompt: words })).text,
    stream: async () => {
      let text = "";
      for await (const one of streamText({ model: made().chat("chat"), prompt: words }).textStream) text += one;
      return text;
    },
    responses: async () => (await generateText({ model: made().responses("chat"), prompt: words })).text,
    messages: async () => (await generateText({ model: claude("chat"), prompt: words })).text,
    tools: async () => {
      const asked = { model: made().chat("chat"), prompt: words, tools: { greet }, toolChoice: "required" };
      return (await generateText(asked)).toolCalls[0].input.name;
    },
    structured: async () => {
      const asked = { model: made().chat("chat"), prompt: person, schema: z.object({ name: z.string() }) };
      return (await generateObject(asked)).object.name;
    },
    embeddings: async () =>
      (await embedMany({ model: made().textEmbeddingModel("chat"), values: ["a", "b"] })).embeddings.length,
    error: () => raised(() => generateText({ model: made().chat("nobody"), prompt: words })),
    retries: () => raised(() => generateText({ model: made().chat(down), prompt: words })),
    budget: () => twice(() => generateText({ model: made(budgetKey).chat("chat"), prompt: words, maxRetries: 0 })),
    abort: async () => {
      const controller = new AbortController();
      const asked = { model: made().chat(slow), prompt: long, abortSignal: controller.signal, onError: () => {} };
      for await (const _ of streamText(asked).textStream) {
        controller.abort();
        break;
      }
      return "closed";
    },
  };
}

const found = {};
for (const [name, work] of Object.entries(await { openai, anthropic, ai }[client]())) {
  try {
    found[name] = await work();
  } catch (error) {
    found[name] = String(error.stack).slice(0, 1500);
  }
}
console.log(JSON.stringify(found));
