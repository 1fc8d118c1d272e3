#!/usr/bin/env python3
"""Answer a file of prompts with the official OpenAI SDK: upload, create, poll, download.

    pip install openai
    export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=bw_...    # both from `batchwright up`
    python batch.py prompts.jsonl answers.jsonl

The file's answers are written in input order; what failed goes to answers.jsonl.errors.
"""

import sys
import time
from pathlib import Path

from openai import OpenAI

ENDED = ("completed", "failed", "expired", "cancelled")


def main(prompts: Path, answers: Path) -> int:
    """Run one batch to its end; 0 if every request was answered."""
    client = OpenAI()
    file = client.files.create(file=prompts, purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        # A program that dies and is started again finds its batch instead of making a second one.
        extra_headers={"Idempotency-Key": f"{prompts.name}-{file.id}"},
    )
    while batch.status not in ENDED:
        time.sleep(1)
        batch = client.batches.retrieve(batch.id)
    for problem in (batch.errors.data or []) if batch.errors else []:
        sys.stderr.write(f"line {problem.line}: {problem.message}\n")
    errors = answers.with_name(f"{answers.name}.errors")
    for file_id, path in ((batch.output_file_id, answers), (batch.error_file_id, errors)):
        if file_id is not None:
            with client.files.with_streaming_response.content(file_id) as content:
                content.stream_to_file(path)
    sys.stdout.write(f"{batch.id} {batch.status}: {batch.request_counts}\n")
    return 0 if batch.status == "completed" and batch.error_file_id is None else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
