"""A small program that stands for any process of ours in tests of the supervisor and the stack.

    python fake_process.py serve PORT | ready FILE | exit CODE TEXT | stubborn FILE

`serve` answers every GET with 200. `ready` writes what BATCHWRIGHT_* it was told beside FILE, makes FILE and
waits; at its end it adds its name to a file `ended` there. Both end on SIGTERM; `stubborn`
does as `ready` but ignores it.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

_ANSWER = b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"


def _serve(port: int) -> None:
    """By hand: tests start dozens of these, and to import a web server takes longer than all the rest."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            connection, _ = listening.accept()
            with connection, suppress(OSError):  # who only looks whether somebody listens has left again
                if connection.recv(65536):
                    connection.sendall(_ANSWER)


def main(what: str, *rest: str) -> None:
    if what == "exit":
        sys.stderr.write(rest[1] + "\n")
        sys.exit(int(rest[0]))
    if what == "serve":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        _serve(int(rest[0]))
    path = Path(rest[0])

    def end(*_: object) -> None:
        with path.with_name("ended").open("a", encoding="utf-8") as ended:
            ended.write(f"{path.stem}\n")
        os._exit(0)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "stubborn" else end)
    told = {name: value for name, value in os.environ.items() if name.startswith("BATCHWRIGHT_")}
    path.with_suffix(".env").write_text(json.dumps(told), encoding="utf-8")
    path.write_text("ready", encoding="utf-8")
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
