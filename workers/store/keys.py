"""Every Redis key of the project: its form, type and time to live.

cache Redis     ai:v2:{provider}:{fingerprint}          string   7 days    an answer
                embedding:v2:{provider}:{fingerprint}   string   24 h      an embedding
control Redis   flight:{tenant}:{fingerprint}           hash     lease_s   who makes this call now
                limit:{provider}                        hash     120 s idle   clocks of a provider's limits
                grant:{provider}:{id}                   string   10 s     a reservation's reply
                batch.{provider}, plan                  list     -         Celery's queues
channels        flights                                 pub/sub            a flight that had waiters has ended
"""

from __future__ import annotations

from workers.core.identity import answer_key

FLIGHTS_CHANNEL = "flights"


def answer(provider: str, endpoint: str, fingerprint: str) -> str:
    """Where the answer to a request is cached. The form is core's: `batchwright.ai` says it without a store."""
    return answer_key(provider, endpoint, fingerprint)


def flight(tenant: str, fingerprint: str) -> str:
    """The lock under which one identical call is made."""
    return f"flight:{tenant}:{fingerprint}"


def limit(provider: str) -> str:
    """The clocks of a provider's limits."""
    return f"limit:{provider}"


def grant(provider: str, reservation: str) -> str:
    """The reply to one reservation or settlement, so that a repeated script takes nothing twice."""
    return f"grant:{provider}:{reservation}"
