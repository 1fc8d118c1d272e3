"""Write every page into a folder: `python -m app.reference docs/reference`, with `--dashboard` Grafana's to stdout."""

from __future__ import annotations

import sys
from pathlib import Path

from app.reference import dashboard
from app.reference.pages import pages

if sys.argv[1] == "--dashboard":
    sys.stdout.write(dashboard.page())
else:
    folder = Path(sys.argv[1])
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
