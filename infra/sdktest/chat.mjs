// A chat call, a streamed one and an embedding with the official Node SDK.
//
// Reads BASE_URL, API_KEY, and for TLS NODE_EXTRA_CA_CERTS from the environment.
// Prints one JSON object of what came back; what it should be is decided by the
// caller.

import OpenAI, { AzureOpenAI } from "openai";

const base = process.env.BASE_URL;
const apiKey = process.env.API_KEY;
const messages = [{ role: "user", content: "Say hello." }];

async function exercise(client) {
  const chat = await client.chat.completions.create({ model: "gpt-4o", messages });
  let text = "";
  let chunks = 0;
  let usage = null;
  const stream = await client.chat.completions.create({
    model: "gpt-4o",
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    chunks += 1;
    text += chunk.choices[0]?.delta?.content ?? "";
    if (chunk.usage) usage = chunk.usage.total_tokens;
  }
  const embedding = await client.embeddings.create({ model: "text-embedding-3-large", input: "hello" });
  return {
    chat: chat.choices[0].message.content,
    chatTokens: chat.usage.total_tokens,
    stream: text,
    chunks,
    streamTokens: usage,
    dimensions: embedding.data[0].embedding.length,
  };
}

const azure = new AzureOpenAI({ endpoint: base, apiKey, apiVersion: "2024-10-21", maxRetries: 0 });
const v1 = new OpenAI({ baseURL: base + "/openai/v1/", apiKey, maxRetries: 0 });
console.log(JSON.stringify({ azure: await exercise(azure), v1: await exercise(v1) }));
