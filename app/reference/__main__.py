"""Write every page into a folder: `python -m app.reference docs/reference`."""

from __future__ import annotations

import sys
from pathlib import Path

from app.reference.pages import pages

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
