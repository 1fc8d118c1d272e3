"""A provider that answers each prompt with what can be told from it, and remembers what it was paid for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.support.engine import ScriptedTransport, reply
from workers.core.messages import HttpRequest, HttpResponse


@dataclass(slots=True)
class Oracle(ScriptedTransport):
    """A provider whose answer is a function of the prompt; what it is to say before that stands in `trouble`.

    Attributes:
        trouble: by prompt, what its first calls get in place of the answer (an error: nothing comes back).
        never: by prompt, what each of its calls gets.
        meanwhile: awaited in a call that would be answered, once for each prompt it is told of.
        called: every call, by prompt. `paid`: those that were answered well, or may have been.
    """

    trouble: dict[str, list[HttpResponse | Exception]] = field(default_factory=dict)
    never: dict[str, HttpResponse] = field(default_factory=dict)
    meanwhile: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    called: Counter[str] = field(default_factory=Counter)
    paid: Counter[str] = field(default_factory=Counter)

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        self.seen += 1
        prompt = prompt_of(request.body)
        self.called[prompt] += 1
        if prompt in self.never:
            return self.never[prompt]
        wrong = self.trouble.get(prompt)
        if not wrong:
            self.paid[prompt] += 1
            if meanwhile := self.meanwhile.pop(prompt, None):
                await meanwhile()
            return reply(text=answer_to(prompt))
        said = wrong.pop(0)
        if isinstance(said, Exception):
            self.paid[prompt] += 1  # for all that anybody knows
            raise said
        return said

    @property
    def excess(self) -> int:
        """Calls that were made again although an earlier one had been answered, or may have been."""
        return sum(times - 1 for times in self.paid.values() if times > 1)


def prompt_of(body: bytes | str) -> str:
    """What a chat request asks."""
    return str(json.loads(body)["messages"][0]["content"])


def answer_to(prompt: str) -> str:
    """What the oracle says: an object, for who asks for one."""
    return json.dumps({"answer": prompt})
