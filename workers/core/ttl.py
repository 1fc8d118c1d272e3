"""How long an answer is kept, by what was asked. Pure: the lives come as the settings' `cache` section.

The engine and `batchwright.ai` ask when they keep an answer; where one is there already, store/cache.py lets the
longer life win.
"""

from __future__ import annotations

from config.tree import Cache
from workers.core.identity import EMBEDDINGS_ENDPOINT


def ttl_s(endpoint: str, task_type: str | None, *, live: bool, rules: Cache) -> int:
    """Seconds that an answer stays in the cache.

    What is asked decides before who asks: an embedding, then a task type with a life of its own, then the
    difference between a person who waits and a batch.

    Args:
        task_type: the catalogue's name of the task, not one of its short forms; None or unknown: no life of its own.
        live: somebody waits for the answer; a batch would keep it longer.
    """
    if endpoint == EMBEDDINGS_ENDPOINT:
        return rules.ttl_embeddings_s
    plain_s = rules.ttl_live_s if live else rules.ttl_answers_s
    match task_type:
        case "conversation":
            return rules.ttl_conversation_s
        case "grammar":
            return rules.ttl_grammar_s
        case "scenario":
            return rules.ttl_scenario_s
        case _:
            return plain_s
