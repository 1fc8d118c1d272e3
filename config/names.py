"""The environment and `.env` as one table of names that remembers where each value came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from config.errors import SettingsError
from config.secret import HIDDEN


@dataclass(frozen=True, slots=True)
class Named:
    """A raw value with the name the user gave it and the place it was found."""

    name: str
    value: object
    source: str

    def contents(self) -> Named:
        """What the file named by this value holds: the form in which containers get secrets."""
        path = Path(str(self.value)).expanduser()
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(self.name, self.source, "the path of a readable file", str(error)) from error
        if not text:
            raise SettingsError(self.name, self.source, "the path of a file with a value in it", str(path))
        return Named(self.name, text, self.source)

    def __repr__(self) -> str:
        return f"Named({self.name!r}, {HIDDEN}, {self.source!r})"


class Names:
    """Look settings up by their environment names."""

    def __init__(self, entries: Mapping[str, Named]) -> None:
        self._entries = entries

    def all(self) -> Iterable[Named]:
        """Every name with a value, the environment's and the file's."""
        return self._entries.values()

    def find(self, candidates: Iterable[str], *, with_file: bool) -> Named | None:
        """The value of the first candidate that is set.

        Args:
            with_file: `<NAME>_FILE` may name a file that holds the value instead.
        Raises: SettingsError if both forms are set, or the file cannot be read.
        """
        for name in candidates:
            plain = self._entries.get(name)
            from_file = self._entries.get(f"{name}_FILE") if with_file else None
            if plain and from_file:
                raise SettingsError(
                    from_file.name, from_file.source, f"only one of {name} and {name}_FILE", "both"
                )
            if plain:
                return plain
            if from_file:
                return from_file.contents()
        return None
