"""How a text is cut when it is streamed, in every dialect. Pure."""

from __future__ import annotations

from collections.abc import Iterator

_PIECE_WORDS = 3
_BIG_PIECE_CHARS = 16_384


def pieces_of(text: str) -> Iterator[str]:
    """The text cut as a model would send it: a few words at a time, large answers in large pieces."""
    if len(text) > _BIG_PIECE_CHARS:
        for start in range(0, len(text), _BIG_PIECE_CHARS):
            yield text[start : start + _BIG_PIECE_CHARS]
        return
    words = text.split(" ")
    for start in range(0, len(words), _PIECE_WORDS):
        piece = " ".join(words[start : start + _PIECE_WORDS])
        yield piece if start == 0 else " " + piece
