"""Tables at their full size and through every kind of stop: what takes longer than the normal suite has.

A million rows are checked, cut and joined in bounded memory; a table whose command is killed again and again is
answered whole, and nothing is paid twice.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.embedded.commands import python_path

pytestmark = [pytest.mark.load, pytest.mark.slow]
ROWS = 1_000_000
MOST_RSS_BYTES = 100_000_000

# In a process of its own: the peak of a process never comes down again.
WHOLE_WAY = """
import sys, threading
from pathlib import Path
import orjson
import psutil
from app.client.jsonl import result_from
from app.tables.answers import answers_for
from app.tables.asking import Asking
from app.tables.cutting import Limits, PartWriter, check
from app.tables.formats import open_table
from app.tables.joining import join
from app.tables.template import parse

peak_bytes, over = 0, threading.Event()

def watch():
    global peak_bytes
    while not over.wait(0.05):
        peak_bytes = max(peak_bytes, psutil.Process().memory_info().rss)

watcher = threading.Thread(target=watch)
watcher.start()
source, target = map(Path, sys.argv[1:])
asking = Asking(parse("Say {text}"), "m")
checked = check(open_table(source), asking, ("answer", "error"), Limits(50_000, 200_000_000, 1_000_000))
writer = PartWriter(checked)
with open("/dev/null", "wb") as out:
    for part in checked.parts:
        writer.write(part, out)

def results():
    for row in range(1, checked.rows + 1):
        body = {"choices": [{"message": {"content": f"answer {row}"}}]}
        response = {"status_code": 200, "body": body}
        yield row, result_from(orjson.dumps({"custom_id": f"row-{row}", "response": response, "error": None}))

with target.open("wb") as out:
    done = join(checked, answers_for(None, None), results(), iter(()), out)
over.set()
watcher.join()
print(checked.rows, len(checked.parts), done.failed, peak_bytes)
"""


def environ(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BATCHWRIGHT_")}
    ours = {"BATCHWRIGHT_DATA_DIR": str(home / "data"), "PYTHONPATH": python_path()}
    # Few calls at once make a run that is long enough to be stopped twice; what a killed worker held is free
    # again after its lease, which is a minute unless said otherwise.
    sizes = {"BATCHWRIGHT_API_MAX_REQUESTS": "300", "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "5"}
    return kept | ours | sizes | {"BATCHWRIGHT_LEASE_S": "3"}


def test_a_million_rows_need_the_memory_of_a_few(tmp_path: Path) -> None:
    source, target = tmp_path / "big.csv", tmp_path / "big.out.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([number, f'message {number}, with "quotes"\nand lines'] for number in range(ROWS))
    run = subprocess.run(
        [sys.executable, "-c", WHOLE_WAY, str(source), str(target)],
        env=environ(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    rows, parts, failed, peak_bytes = map(int, run.stdout.split())
    assert (rows, parts, failed) == (ROWS, 20, 0)
    assert peak_bytes < MOST_RSS_BYTES
    with target.open(newline="") as file:
        assert sum(1 for _ in csv.reader(file)) == ROWS + 1


def started(home: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "app.cli.main", "run", "in.csv", "--prompt"]
    command += ["[[sim:latency-ms=40]] Say {text}", "--sim", "--workers", "1", "--json", *more]
    return subprocess.Popen(
        command, cwd=home, env=environ(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def stop_in_the_middle(home: Path, number: int) -> None:
    """Let some rows be answered, then end the command by a signal."""
    process = started(home)
    assert process.stderr is not None
    for text in process.stderr:
        done = re.search(r"([\d,]+) of 1,000 done", text)
        if done and int(done[1].replace(",", "")) > 50:
            break
    process.send_signal(number)
    process.communicate(timeout=60)


def answered(home: Path, *more: str) -> dict[str, Any]:
    process = started(home, *more)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_table_that_is_stopped_again_and_again_comes_back_whole_and_is_paid_once(tmp_path: Path) -> None:
    # Given 1,000 rows in parts of 300, stopped by Ctrl-C and by kill -9
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *([n, f"word {n}\nand more"] for n in range(1000))])
    stop_in_the_middle(tmp_path, signal.SIGINT)
    stop_in_the_middle(tmp_path, signal.SIGKILL)
    assert not (tmp_path / "out" / "in.out.csv").exists()
    # When the same command is given again
    said = answered(tmp_path)
    # Then every row has its answer, in order; calls that kill -9 cut off are all that was made twice
    assert (said["total"], said["completed"], said["unanswered"], said["parts"]) == (1000, 1000, 0, 4)
    assert said["calls"] <= 1000 + said["excess_calls"]
    with (tmp_path / "out" / "in.out.csv").open(newline="") as source:
        rows = list(csv.DictReader(source))
    assert [int(row["id"]) for row in rows] == list(range(1000))
    assert all(row["answer"] and not row["error"] for row in rows)
    # And once more: nothing is sent, nothing is paid
    assert answered(tmp_path)["batch_ids"] == said["batch_ids"]
