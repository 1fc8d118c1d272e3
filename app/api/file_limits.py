"""How large an upload may be: an input file of a batch, or a file of another purpose.

A form may name its purpose after its file; until it is known, the larger limit holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.api.errors import ApiError
from config.settings import Api

BATCH = "batch"
# What a form holds beside its file: names, boundaries, a purpose, and what a client may send before and after.
FORM_OVERHEAD_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class FileLimits:
    """The settings' limits, bytes."""

    batch_bytes: int
    other_bytes: int

    def refuse(self, file_bytes: int, purpose: str | None) -> None:
        """Raises ApiError 413, with the limit and its setting, for a file of so many bytes, or at least so many."""
        name = (
            "max_file_bytes"
            if purpose == BATCH or self.batch_bytes > self.other_bytes
            else "max_other_file_bytes"
        )
        limit_bytes = self.batch_bytes if name == "max_file_bytes" else self.other_bytes
        if file_bytes > limit_bytes:
            raise file_too_large(limit_bytes, name)

    def refuse_length(self, content_length: str | None, purpose: str | None = None) -> None:
        """The same for a form of so many bytes as its sender announces."""
        if content_length and content_length.isascii() and content_length.isdigit():
            self.refuse(int(content_length[:18]) - FORM_OVERHEAD_BYTES, purpose)

    def refuse_form(self, form_bytes: int) -> None:
        """The same for a form of which so many bytes have come."""
        self.refuse(form_bytes - FORM_OVERHEAD_BYTES, None)


def limits_of(api: Api) -> FileLimits:
    """The limits that these settings name."""
    return FileLimits(api.max_file_bytes, api.max_other_file_bytes)


def file_too_large(limit_bytes: int, name: str) -> ApiError:
    """413 with the limit and the name of the setting that moves it."""
    return ApiError(
        413,
        f"The file is larger than this server takes: the limit is {limit_bytes:,} bytes, "
        f"set by api.{name} (BATCHWRIGHT_API_{name.upper()}).",
        param="file",
        code="file_too_large",
    )
