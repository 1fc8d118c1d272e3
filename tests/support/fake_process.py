"""A small program that stands for any process of ours in tests of the supervisor and the stack.

    python fake_process.py serve PORT | ready FILE | exit CODE TEXT | stubborn FILE

`serve` answers every GET with 200. `ready` writes what BATCHWRIGHT_* it was told beside FILE, makes FILE and
waits; at its end it adds its name to a file `ended` there. Both end on SIGTERM; `stubborn`
does as `ready` but ignores it.
"""

import http.server
import json
import os
import signal
import sys
import threading
from pathlib import Path


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


def main(what: str, *rest: str) -> None:
    if what == "exit":
        sys.stderr.write(rest[1] + "\n")
        sys.exit(int(rest[0]))
    if what == "serve":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        http.server.ThreadingHTTPServer(("127.0.0.1", int(rest[0])), _Answer).serve_forever()
    path = Path(rest[0])

    def end(*_: object) -> None:
        with path.with_name("ended").open("a", encoding="utf-8") as ended:
            ended.write(f"{path.stem}\n")
        os._exit(0)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "stubborn" else end)
    told = {name: value for name, value in os.environ.items() if name.startswith("BATCHWRIGHT_")}
    path.with_suffix(".env").write_text(json.dumps(told), encoding="utf-8")
    path.write_text("ready", encoding="utf-8")
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
