"""A chat call, a streamed one and an embedding with the official Python SDK.

Reads BASE_URL, API_KEY, and for TLS SSL_CERT_FILE from the environment. Prints
one JSON object of what came back; what it should be is decided by the caller.
"""

import json
import os
import sys

from openai import AzureOpenAI, OpenAI

BASE, KEY = os.environ["BASE_URL"], os.environ["API_KEY"]
MESSAGES = [{"role": "user", "content": "Say hello."}]


def exercise(client):
    chat = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    text, chunks, usage = "", 0, None
    stream = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        chunks += 1
        if chunk.choices and chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
        if chunk.usage:
            usage = chunk.usage.total_tokens
    embedding = client.embeddings.create(model="text-embedding-3-large", input="hello")
    return {
        "chat": chat.choices[0].message.content,
        "chatTokens": chat.usage.total_tokens,
        "stream": text,
        "chunks": chunks,
        "streamTokens": usage,
        "dimensions": len(embedding.data[0].embedding),
    }


def main():
    azure = AzureOpenAI(azure_endpoint=BASE, api_key=KEY, api_version="2024-10-21", max_retries=0)
    v1 = OpenAI(base_url=BASE + "/openai/v1/", api_key=KEY, max_retries=0)
    json.dump({"azure": exercise(azure), "v1": exercise(v1)}, sys.stdout)


main()
