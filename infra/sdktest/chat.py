"""A chat call, a streamed one, a tool call, structured output and an embedding
with the official Python SDK.

Reads BASE_URL, API_KEY, MODEL, and for TLS SSL_CERT_FILE from the environment. Prints
one JSON object of what came back; what it should be is decided by the caller.
"""

import json
import os
import sys

from openai import AzureOpenAI, OpenAI, pydantic_function_tool
from pydantic import BaseModel

BASE, KEY, MODEL = os.environ["BASE_URL"], os.environ["API_KEY"], os.environ["MODEL"]
MESSAGES = [{"role": "user", "content": "Say hello."}]


class Weather(BaseModel):
    """Look the weather up."""

    city: str
    days: int


def exercise(client):
    chat = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    text, chunks, usage = "", 0, None
    stream = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        chunks += 1
        if chunk.choices and chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
        if chunk.usage:
            usage = chunk.usage.total_tokens
    # The SDK itself holds what comes back to the schema.
    tools = [pydantic_function_tool(Weather)]
    parsed = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Weather)
    called = client.chat.completions.parse(model=MODEL, messages=MESSAGES, tools=tools).choices[0]
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES, tools=tools) as events:
        streamed = events.get_final_completion().choices[0]
    arguments = called.message.tool_calls[0].function.parsed_arguments
    embedding = client.embeddings.create(model="text-embedding-3-large", input="hello")
    return {
        "chat": chat.choices[0].message.content,
        "chatTokens": chat.usage.total_tokens,
        "stream": text,
        "chunks": chunks,
        "streamTokens": usage,
        "structured": isinstance(parsed.choices[0].message.parsed, Weather),
        "tool": isinstance(arguments, Weather)
        and arguments == streamed.message.tool_calls[0].function.parsed_arguments,
        "finish": called.finish_reason,
        "finishStream": streamed.finish_reason,
        "dimensions": len(embedding.data[0].embedding),
    }


def main():
    azure = AzureOpenAI(azure_endpoint=BASE, api_key=KEY, api_version="2024-10-21", max_retries=0)
    v1 = OpenAI(base_url=BASE + "/openai/v1/", api_key=KEY, max_retries=0)
    json.dump({"azure": exercise(azure), "v1": exercise(v1)}, sys.stdout)


main()
