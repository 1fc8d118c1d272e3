"""Somebody who does what a page says, from top to bottom: a shell in a folder, files, programs, a look at what comes.

What a page cannot know is filled in from what was printed before: `batch_...` is the batch printed last, `PID` the
process of worker-2, and http://127.0.0.1:8000 the API that runs. Each command has `LIMIT_S`.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.doc_pages import Block, blocks, not_printed

LIMIT_S = 240.0
API = "http://127.0.0.1:8000"
_END = "the command has ended with"
_LEARNED = (
    (re.compile(r"\b((?:batch|sched|key|whk|dlv)_)[0-9a-f]{20,}"), r"\1..."),
    (re.compile(r"\b(bw_)[\w-]{43,}"), r"\1..."),
    (re.compile(r"^API\s+(http://\S+)$", re.MULTILINE), API),
    (re.compile(r"^\s*worker-2\s+(\d+)\s", re.MULTILINE), "PID"),
)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What a newcomer's shell has: our command on the path, no setting of ours, ports that nobody else has."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BATCHWRIGHT_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ports = {"BATCHWRIGHT_API_PORT": "0", "BATCHWRIGHT_FLOWER_PORT": "0"}
    return {**environ, **ports, "PATH": path, "HOME": str(folder), "COLUMNS": "110", **more}


@dataclass
class Reader:
    """One shell in one folder. `printed` is what the last command printed, `known` what may be filled in."""

    folder: Path
    shell: subprocess.Popen[str]
    known: dict[str, str] = field(default_factory=dict)
    printed: str = ""

    def follow(self, page: Path) -> int:
        """Do all that a page says; gives how many commands and programs that were.

        Raises: AssertionError for a command that ends otherwise than it should, or prints something else.
        """
        done = 0
        for block in blocks(page):
            where = f"{page.name}, line {block.line}"
            if block.language == "sh" and block.reason is None:
                self._commands(block, where)
                done += len(block.commands)
            elif block.language == "text":
                exact = block.words == ("exact",)
                missing = not_printed(block.text, self.printed, exact=exact)
                assert not missing, f"{where}: not printed: {missing}; but:\n{self.printed}"
            elif block.language == "python" and not block.words:
                self._program(block, where)
                done += 1
            elif block.language != "sh" and block.words:
                assert "/" not in block.words[0], f"{where}: a file of another folder"
                (self.folder / block.words[0]).write_text(self.filled(block.text) + "\n", encoding="utf-8")
        return done

    def _commands(self, block: Block, where: str) -> None:
        for left, command in zip(reversed(range(len(block.commands))), block.commands, strict=True):
            code = self.run(command)
            wanted = int(block.words[1]) if block.words and not left else 0
            assert code == wanted, f"{where}: `{command}` ended with {code}:\n{self.printed}"

    def _program(self, block: Block, where: str) -> None:
        program = self.folder / "program.py"
        program.write_text(self.filled(block.text), encoding="utf-8")
        code = self.run("python program.py")
        assert code == 0, f"{where}: the program ended with {code}:\n{self.printed}"

    def run(self, command: str) -> int:
        """Run one command to its end; gives its exit code, and -1 where the shell has ended with it."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        line = f"{{ {self.filled(command)}\n}} </dev/null; printf '\\n%s %d\\n' {shlex.quote(_END)} $?\n"
        self.shell.stdin.write(line)
        self.shell.stdin.flush()
        said: list[str] = []
        guard = threading.Timer(LIMIT_S, self.end)
        guard.start()
        try:
            for text in self.shell.stdout:
                if text.startswith(_END):
                    return int(text.removeprefix(_END))
                said.append(text)
            return -1
        finally:
            guard.cancel()
            self.printed = "".join(said)
            self._learn(self.printed)

    def filled(self, text: str) -> str:
        """The text with what is known in its places."""
        for place, value in self.known.items():
            text = re.sub(rf"\b{re.escape(place)}(?!\w)", value.replace("\\", r"\\"), text)
        return text

    def _learn(self, printed: str) -> None:
        for wanted, place in _LEARNED:
            for found in wanted.finditer(printed):
                value = found[1] if place in (API, "PID") else found[0]
                self.known[found.expand(place)] = value

    def end(self) -> None:
        """End the shell and what it runs in the background; the stack is a session of its own."""
        try:
            os.killpg(self.shell.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


@contextmanager
def reader(folder: Path, environ: dict[str, str]) -> Iterator[Reader]:
    """A shell in this folder; at its end nothing it has started in the background is left."""
    with subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        cwd=folder,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        one = Reader(folder, shell)
        try:
            yield one
        finally:
            one.end()
