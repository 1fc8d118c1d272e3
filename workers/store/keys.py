"""Every Redis key of the project: its form, type and time to live.

cache Redis     ai:v2:{provider}:{fingerprint}          string   7 days    an answer
                embedding:v2:{provider}:{fingerprint}   string   24 h      an embedding
                counts:cache                            hash     8 days    hits, misses and the like, by day
                counted:{id}                            string   600 s     an addition to them that was made
                asked:{tenant}                          zset     2 days idle   key of an answer -> how often it was
                                                                          found, by a sample, halved each day
                asked_at:{tenant}                       hash     as asked  key of an answer -> where its request stands
                asked_halved:{tenant}                   string   1 day     that its counts were halved
control Redis   flight:{tenant}:{fingerprint}           hash     lease_s   who makes this call now
                limit:{provider}                        hash     1 h idle   clocks of a provider's limits: `requests`,
                                                                          `tokens` (when full again, Unix ms),
                                                                          `paused` (until, Unix ms), and
                                                                          `learned_requests`, `learned_tokens`
                                                                          (step_ms, size, until_ms, full_ms)
                calls:{provider}                        hash     15 s     HOLDER -> until_ms, tokens, {MODEL: n} as
                                                                          JSON: its calls under way
                lanes:{provider}                        hash     30 min idle   MODEL -> JSON: throttle, breaker, seen
                grant:{provider}:{holder}               string   60 s     number and reply of its last reservation
                                                                          or report
                tenant_limit:{tenant}                   hash     1 h idle   clocks of a tenant's limits: `requests:N`,
                                                                          `tokens:N` (N a minute; when full again,
                                                                          Unix ms): another limit begins anew
                tenant_calls:{tenant}                   hash     15 s     HOLDER/PROVIDER -> until_ms, its calls
                                                                          under way
                batch.{provider}, plan                  list     -         Celery's queues
channels        flights                                 pub/sub            a flight that had waiters has ended
"""

from __future__ import annotations

import re

from workers.core.errors import UserError
from workers.core.identity import answer_key

FLIGHTS_CHANNEL = "flights"
CACHE_COUNTS = "counts:cache"
ANSWER_KINDS = ("ai", "embedding")
_PREFIX = re.compile(rf"(?:{'|'.join(ANSWER_KINDS)})(?::[^:]+)*")
_GLOB = re.compile(r"([*?\[\]\\])")


def answer(provider: str, endpoint: str, fingerprint: str) -> str:
    """Where the answer to a request is cached. The form is core's: `batchwright.ai` says it without a store."""
    return answer_key(provider, endpoint, fingerprint)


def answer_patterns(prefix: str | None) -> list[str]:
    """What SCAN is to match for the answers whose keys begin with these whole words; None: every answer.

    No pattern matches a key of another form, whatever else lives in the same Redis.
    Raises: UserError for a prefix that no key of an answer has.
    """
    words = ANSWER_KINDS if prefix is None else (prefix.rstrip(":"),)
    if not all(map(_PREFIX.fullmatch, words)):
        known = " or ".join(f"`{kind}`" for kind in ANSWER_KINDS)
        raise UserError(
            f"no cached answer has the prefix {str(prefix)[:64]!r}",
            hint=f"it begins with {known}, such as ai:v2:openai",
        )
    # The kind alone is followed by the version, so that nobody else's `ai:...` is meant.
    return [
        f"{word}:v[0-9]*:*" if word in ANSWER_KINDS else _GLOB.sub(r"\\\1", word) + ":*" for word in words
    ]


def counted(addition: str) -> str:
    """That an addition to the counts was made, so that a repeated script adds nothing twice."""
    return f"counted:{addition}"


def asked(tenant: str) -> str:
    """How often a tenant's answers were found: those found most."""
    return f"asked:{tenant}"


def asked_at(tenant: str) -> str:
    """Where the requests of those answers can be read again."""
    return f"asked_at:{tenant}"


def asked_halved(tenant: str) -> str:
    """That the counts were halved less than a day ago."""
    return f"asked_halved:{tenant}"


def flight(tenant: str, fingerprint: str) -> str:
    """The lock under which one identical call is made."""
    return f"flight:{tenant}:{fingerprint}"


def limit(provider: str) -> str:
    """The clocks of a provider's limits."""
    return f"limit:{provider}"


def calls(provider: str) -> str:
    """What each process has under way at a provider."""
    return f"calls:{provider}"


def lanes(provider: str) -> str:
    """The lanes of a provider that are throttled, or whose calls fail."""
    return f"lanes:{provider}"


def tenant_limit(tenant: str) -> str:
    """The clocks of a tenant's own limits."""
    return f"tenant_limit:{tenant}"


def tenant_calls(tenant: str) -> str:
    """What each process has under way for a tenant, at each provider."""
    return f"tenant_calls:{tenant}"


def grant(provider: str, holder: str) -> str:
    """The reply to a process's last reservation or report, so that a repeated script takes nothing twice."""
    return f"grant:{provider}:{holder}"
