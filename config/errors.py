"""The one error of this folder. The command line prints it as it is; it never carries a secret."""

from __future__ import annotations

_SHOWN_CHARS = 80


class SettingsError(Exception):
    """A setting has a wrong value or does not exist.

    Args:
        name: the name as the user wrote it: an environment name, or a dotted TOML name.
        source: where it was found: "the environment", or a file's path (with a line where one is known).
        allowed: what would have been right, as words.
        got: what was found; "********" for a secret.
    """

    def __init__(self, name: str, source: str, allowed: str, got: str) -> None:
        super().__init__(name, source, allowed, got)
        self.name = name
        self.source = source
        self.allowed = allowed
        self.got = got

    def __str__(self) -> str:
        return f"{self.name} in {self.source}: expected {self.allowed}, got {shown(self.got)}"


def shown(text: str) -> str:
    """One short printable line, whatever was in there (escape codes, line breaks, a whole file)."""
    cut = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."
    return repr(cut)
