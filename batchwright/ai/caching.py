"""Under which name an answer is cached: the batch engine's own fingerprint and key, computed without a cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from batchwright.ai.requests import Asked, call_for, public_url
from batchwright.ai.routing import CHAT
from batchwright.ai.tasks import Prompt, Provider, known
from workers.core.errors import UserError
from workers.core.identity import EMBEDDINGS_ENDPOINT, answer_key, request_fingerprint


@dataclass(frozen=True, slots=True)
class CacheScope:
    """Whose answers are meant: nobody else's equal request has an equal key.

    Attributes:
        secret: 32 bytes. Batchwright's cache uses its tenant's; with any others the keys are the caller's own.
        generation: raising it forgets everything at once; a new tenant has 1.
        base_url: the server that answers; None: the provider's public one.
    """

    secret: bytes = field(default=bytes(32), repr=False)
    generation: int = 1
    base_url: str | None = None


_OWN = CacheScope()


def prompt_fingerprint(
    provider: str,
    prompt: Prompt | list[str],
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    embedding: bool = False,
    scope: CacheScope = _OWN,
    **parameters: Any,
) -> str:
    """64 hex digits that are equal exactly when two requests ask the same of the same server, and so cost one call.

    The BLAKE3 hash, keyed with the scope's secret, of the normalised request in its one JSON form (sorted keys):
    aliases followed, the task type's defaults in, every parameter.

    Args:
        embedding: `prompt` is the text (or texts) to embed.
    Raises: UserError for an unknown provider or task type, and for what JSON cannot say.
    """
    place = known(Provider, provider, "provider")
    asked = Asked(model, system, task_type, parameters)
    call, _ = call_for(place, prompt, asked, EMBEDDINGS_ENDPOINT if embedding else CHAT)
    try:
        return request_fingerprint(
            secret=scope.secret,
            generation=scope.generation,
            answers_as=(scope.base_url or public_url(place)).rstrip("/"),
            endpoint=call.endpoint,
            model=call.model,
            body=call.body,
            provider_options=call.provider_options,
        )
    except TypeError as error:  # a value that JSON does not have, half of a surrogate pair, too deep
        raise UserError(f"the request cannot be written as JSON ({error})") from error


def cache_key(
    provider: str,
    prompt: Prompt | list[str],
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    embedding: bool = False,
    scope: CacheScope = _OWN,
    **parameters: Any,
) -> str:
    """`ai:v2:{provider}:{fingerprint}`, for an embedding `embedding:v2:...`; arguments as in `prompt_fingerprint`."""
    place = known(Provider, provider, "provider")
    fingerprint = prompt_fingerprint(
        place,
        prompt,
        model=model,
        system=system,
        task_type=task_type,
        embedding=embedding,
        scope=scope,
        **parameters,
    )
    return answer_key(place, EMBEDDINGS_ENDPOINT if embedding else CHAT, fingerprint)
