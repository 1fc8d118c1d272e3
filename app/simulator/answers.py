"""f(prompt): what the simulator answers, known to a test before it asks.

Pure. simulation.py serves it; a test calls `answer_text` with the same seed and compares.
A prompt that asks for one of some labels gets one of them; any other gets a sentence or two about its own
words that carry twelve hex digits of its hash, so that two answers are equal only if their prompts are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from blake3 import blake3

from app.simulator.usage import texts_of

_ASKS_FOR_A_LABEL = re.compile(
    r"(?:\b(?:one|any|either|exactly one) of\b(?: these| the following)?"
    r"|\b(?:labels?|categor(?:y|ies)|classes|options|choices)\b(?: are| is)?"
    r"|\b(?:choose|pick|select)\b(?: exactly)?(?: one)?(?: label| category)? (?:from|among|between)\b"
    r"|\b(?:classify|label|categori[sz]e|rate)\b[^.:\n]{0,80}? (?:as|into)\b)"
    r"(?:[ \w]{0,24}:)?[ \t]*(?P<list>(?:\n[ \t]*[-*\u2022][^\n]+)+|[^.;:?!\n]+)",
    re.IGNORECASE,
)
_BETWEEN_LABELS = re.compile(r"\s*(?:,\s*(?:or|and)\s+|,|/|\||\n|\s+or\s+|\s+and\s+)\s*", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{5,}")
_MAX_LABEL_WORDS = 3
_FEW_WORDS = ("context", "purpose", "wording")  # what a prompt of few words is about
_INSTRUCTIONS = frozenset((
    "about", "answer", "brief", "briefly", "classify", "describe", "explain", "extract",
    "following", "given", "please", "question", "return", "sentence", "sentences", "short",
    "summarise", "summarize", "summary", "their", "there", "these", "translate", "which", "would",
    "write",
))  # fmt: skip
_OPENINGS = (
    ("summar", "In short, this is about {a} and {b}"),
    ("translat", "Translated freely, it speaks of {a} and {b}"),
    ("extract", "The text names {a} and {b}"),
    ("explain", "The main point is how {a} bears on {b}"),
    ("write", "Here is a draft that opens with {a} and closes with {b}"),
    ("", "The answer turns on {a} and {b}"),
)
_FOLLOWING = (
    "Most readers would look at {a} first.",
    "What matters next is {b}, then {c}.",
    "Nothing here contradicts what is known of {c}.",
    "A closer look at {c} would be worth the time.",
)


def answer_text(model: str, messages: Sequence[Mapping[str, Any]], seed: int) -> str:
    """The whole answer to a chat prompt, before any output cap cuts it.

    Args:
        messages: as in the request body; every key counts, not only the text.
        seed: the simulator's own seed, not the request's; choice k of n is answered under seed + k.
    """
    digest = prompt_digest(model, messages, seed)
    text = "\n".join(texts_of(messages))
    labels = labels_asked_for(text)
    if labels:
        return labels[int.from_bytes(digest[:8], "big") % len(labels)]
    return _sentence(model, text, digest)


def thinking_text(model: str, messages: Sequence[Mapping[str, Any]], seed: int) -> str:
    """What a thinking model thinks before `answer_text`: two sentences about the prompt."""
    digest = prompt_digest(model, messages, seed)
    a, b, c = _three_words("\n".join(texts_of(messages)), digest)
    return f"The question is about {a}, so {b} comes first. Then I should check {c} before I answer."


def prompt_digest(model: str, messages: Sequence[Mapping[str, Any]], seed: int) -> bytes:
    """32 bytes that differ for every (model, messages, seed); the order of keys does not count."""
    plain = [model, [dict(message) for message in messages], seed]
    return blake3(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).digest()


def labels_asked_for(text: str) -> tuple[str, ...]:
    """The labels a prompt offers, in its order; empty when it does not ask for a choice."""
    for match in _ASKS_FOR_A_LABEL.finditer(text):
        labels: dict[str, None] = {}
        for part in _BETWEEN_LABELS.split(match["list"].strip()):
            label = part.strip(" \t\n-*\u2022\"'`[](){}")
            if not label or len(label.split()) > _MAX_LABEL_WORDS:
                # A long part is prose around the list: what stood before it is all that was offered.
                break
            labels.setdefault(label)
        if len(labels) > 1:
            return tuple(labels)
    return ()


def _three_words(text: str, digest: bytes) -> tuple[str, str, str]:
    """Three of the words that a prompt is about."""
    found = {word.lower() for word in _WORD.findall(text[:4096])} - _INSTRUCTIONS
    words = sorted(found | set(_FEW_WORDS)) if len(found) < len(_FEW_WORDS) else sorted(found)
    start = int.from_bytes(digest[:8], "big")
    return words[start % len(words)], words[(start + 1) % len(words)], words[(start + 2) % len(words)]


def _sentence(model: str, text: str, digest: bytes) -> str:
    a, b, c = _three_words(text, digest)
    lowered = text[:4096].lower()
    opening = next(shape for stem, shape in _OPENINGS if stem in lowered)
    parts = [f"{opening.format(a=a, b=b)} (note {digest.hex()[:12]})."]
    if "large" in model:
        # A larger model says more: cost and latency reports should be able to tell the two apart.
        parts += [shape.format(a=a, b=b, c=c) for shape in _FOLLOWING]
    else:
        parts.append(_FOLLOWING[digest[12] % len(_FOLLOWING)].format(a=a, b=b, c=c))
    return " ".join(parts)
