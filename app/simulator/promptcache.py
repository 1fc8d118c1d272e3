"""The provider's prompt cache: which beginnings of prompts this simulator has met before.

A prompt is put into bytes, four a token, by `usage.prompt_bytes`; a beginning is a number of its tokens. What
was met is never too old, only pushed out by newer ones, so that a run's cached tokens follow from its calls
and not from the clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from blake3 import blake3

from app.simulator.usage import BYTES_PER_TOKEN

LEAST_TOKENS = 1024  # below it no provider caches
STEP_TOKENS = 128  # OpenAI counts cached tokens in such steps
_MAX_BEGINNINGS = 200_000


class PromptCache:
    """Digests of beginnings, the one unused longest forgotten first."""

    def __init__(self) -> None:
        self._met: OrderedDict[bytes, None] = OrderedDict()

    def longest(self, digests: Iterable[tuple[int, bytes]]) -> int:
        """Tokens of the longest beginning met before, 0 without one.

        Args:
            digests: (tokens, digest) in rising order, as `beginnings` gives them.
        """
        found = 0
        for tokens, digest in digests:
            if digest in self._met:
                self._met.move_to_end(digest)
                found = tokens
        return found

    def keep(self, digests: Iterable[tuple[int, bytes]]) -> None:
        """Remember beginnings."""
        for _, digest in digests:
            self._met[digest] = None
            self._met.move_to_end(digest)
        while len(self._met) > _MAX_BEGINNINGS:
            self._met.popitem(last=False)


def beginnings(scope: str, prompt: bytes, ends: Iterable[int]) -> list[tuple[int, bytes]]:
    """(tokens, digest) of the beginnings of `prompt` that end after so many tokens.

    Args:
        scope: what never shares a cache, such as the dialect and the model.
        ends: rising numbers of tokens; those under `LEAST_TOKENS` and beyond the prompt are left out.
    """
    hashed = blake3(scope.encode("utf-8", "surrogatepass") + b"\0")
    found, done = [], 0
    for end in ends:
        stop = end * BYTES_PER_TOKEN
        if end < LEAST_TOKENS or stop > len(prompt):
            continue
        hashed.update(prompt[done:stop])
        done = stop
        found.append((end, hashed.digest(length=16)))
    return found


def steps(tokens: int) -> range:
    """The ends of all beginnings that OpenAI's cache knows of a prompt of so many tokens."""
    return range(LEAST_TOKENS, tokens + 1, STEP_TOKENS)
