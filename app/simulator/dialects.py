"""Which APIs the simulator speaks, all on one port, and which of them a request is for."""

from __future__ import annotations

from app.simulator.anthropic import Anthropic
from app.simulator.dialect import Dialect, Inbound
from app.simulator.gemini import Gemini
from app.simulator.ollama import Ollama
from app.simulator.openai import OpenAI

OPENAI: Dialect = OpenAI()
# The first that owns a request has it; each tells its own by a look-up or a prefix.
DIALECTS: tuple[Dialect, ...] = (
    Gemini(),  # before OpenAI, to whom /api/embeddings of Ollama would look like its own
    Ollama(),
    OPENAI,
    Anthropic(),
)


def dialect_of(call: Inbound) -> Dialect:
    """The API a request is for; OpenAI refuses what nobody owns."""
    for dialect in DIALECTS:
        if dialect.owns(call):
            return dialect
    return OPENAI
