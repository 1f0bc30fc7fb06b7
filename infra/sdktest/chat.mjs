// A chat call, a streamed one, a tool call, structured output and an embedding
// with the official Node SDK.
//
// Reads BASE_URL, API_KEY, MODEL, and for TLS NODE_EXTRA_CA_CERTS from the environment.
// Prints one JSON object of what came back; what it should be is decided by the
// caller.

import OpenAI, { AzureOpenAI } from "openai";

const base = process.env.BASE_URL;
const apiKey = process.env.API_KEY;
const model = process.env.MODEL;
const messages = [{ role: "user", content: "Say hello." }];
const schema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
const fits = (text) => {
  const value = JSON.parse(text);
  return typeof value.city === "string" && Number.isInteger(value.days) && Object.keys(value).length === 2;
};

async function exercise(client) {
  const chat = await client.chat.completions.create({ model, messages });
  let text = "";
  let chunks = 0;
  let usage = null;
  const stream = await client.chat.completions.create({
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    chunks += 1;
    text += chunk.choices[0]?.delta?.content ?? "";
    if (chunk.usage) usage = chunk.usage.total_tokens;
  }
  const structured = await client.chat.completions.parse({
    model,
    messages,
    response_format: { type: "json_schema", json_schema: { name: "weather", strict: true, schema } },
  });
  const tools = [{ type: "function", function: { name: "weather", strict: true, parameters: schema } }];
  const called = (await client.chat.completions.create({ model, messages, tools })).choices[0];
  const streamed = (await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion()).choices[0];
  const calls = [called, streamed].map((c) => c.message.tool_calls[0].function.arguments);
  const embedding = await client.embeddings.create({ model: "text-embedding-3-large", input: "hello" });
  return {
    chat: chat.choices[0].message.content,
    chatTokens: chat.usage.total_tokens,
    stream: text,
    chunks,
    streamTokens: usage,
    structured: fits(structured.choices[0].message.content),
    tool: fits(calls[0]) && calls[0] === calls[1],
    finish: called.finish_reason,
    finishStream: streamed.finish_reason,
    dimensions: embedding.data[0].embedding.length,
  };
}

const azure = new AzureOpenAI({ endpoint: base, apiKey, apiVersion: "2024-10-21", maxRetries: 0 });
const v1 = new OpenAI({ baseURL: base + "/openai/v1/", apiKey, maxRetries: 0 });
console.log(JSON.stringify({ azure: await exercise(azure), v1: await exercise(v1) }));
