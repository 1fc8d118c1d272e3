"""What every engine is asked in a lap, and what it must answer. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from app.simulator.answers import answer_text

MODEL = "sim-small"
SEED = 7
ENDPOINT = "/v1/chat/completions"
_PRAISE = ("light", "quiet", "sturdy", "cheap", "handsome", "quick")
_BLAME = ("late", "scratched", "loud", "heavy", "short of parts", "hard to open")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of one lap: `Prompts("3")` has none in common with `Prompts("4")`; made when asked for."""

    lap: str
    _answers: list[str] = field(default_factory=list, compare=False, repr=False)

    def text(self, number: int) -> str:
        """A short prompt like those of a real file."""
        praise, blame = _PRAISE[number % len(_PRAISE)], _BLAME[number // 7 % len(_BLAME)]
        return (
            f"Summarise review {self.lap}-{number} in one sentence: the product is {praise}, but the parcel "
            f"was {blame}. I wrote to the shop twice, they answered after {number % 29 + 1} days, and I would "
            f"{'' if number % 3 else 'not '}buy there again."
        )

    def texts(self, count: int) -> list[str]:
        """The first so many."""
        return [self.text(number) for number in range(count)]

    def answer(self, number: int) -> str:
        """f(prompt): what the simulator says to it."""
        return answer_text(MODEL, [{"role": "user", "content": self.text(number)}], SEED)

    def answers(self, count: int) -> list[str]:
        """What the simulator says to the first so many; engines of one lap share the work."""
        known = self._answers
        known.extend(self.answer(number) for number in range(len(known), count))
        return known[:count]

    def lines(self, count: int) -> Iterator[bytes]:
        """The first so many as an input file; a line's custom_id is its number."""
        for number in range(count):
            body = {"model": MODEL, "messages": [{"role": "user", "content": self.text(number)}]}
            line = {"custom_id": str(number), "method": "POST", "url": ENDPOINT, "body": body}
            yield orjson.dumps(line) + b"\n"
