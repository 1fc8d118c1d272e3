#!/usr/bin/env python3
"""Run several files at once with the asynchronous OpenAI SDK, and read the answers without keeping them on disk.

export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=bw_...    # both from `batchwright up`
python batch_async.py first.jsonl second.jsonl
"""

import asyncio
import json
import sys
from pathlib import Path

from openai import AsyncOpenAI


async def answers(client: AsyncOpenAI, prompts: Path) -> dict[str, str]:
    """The text of every answer of one file, by custom_id."""
    file = await client.files.create(file=prompts, purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while batch.status in ("validating", "in_progress", "finalizing"):
        await asyncio.sleep(1)
        batch = await client.batches.retrieve(batch.id)
    texts: dict[str, str] = {}
    if batch.output_file_id is not None:
        async with client.files.with_streaming_response.content(batch.output_file_id) as content:
            async for row in content.iter_lines():
                answer = json.loads(row)
                texts[answer["custom_id"]] = answer["response"]["body"]["choices"][0]["message"]["content"]
    return texts


async def main(files: list[Path]) -> None:
    """Print every answer."""
    async with AsyncOpenAI() as client:
        for found in await asyncio.gather(*(answers(client, file) for file in files)):
            for custom_id, text in found.items():
                sys.stdout.write(f"{custom_id}: {text}\n")


if __name__ == "__main__":
    asyncio.run(main([Path(name) for name in sys.argv[1:]]))
