"""What a tenant's own limits let in at the API's door: batches beside those not answered yet, bytes beside its files.

batches.py and retrying.py ask before they make a batch, uploading.py before and after a file's bytes are stored. What
its calls may take is no matter of the API: engine/limiting.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.api.errors import ApiError
from app.api.services import Services
from workers.core.tenant_limits import QUEUED_ITEMS, beyond_storage
from workers.creation import refusal_of_queue

RETRY_AFTER_S = 10
# What a form holds beside its file: names, boundaries, a purpose. An announced length tells of all of it together.
FORM_BYTES = 65_536


async def refuse_if_queue_is_full(behind: Services, tenant: str) -> None:
    """Raises ApiError 429 while the tenant has as many unanswered items as it may have: the SDKs ask again."""
    full = await behind.run(refusal_of_queue, behind.backlog, tenant)
    if full is not None:
        headers = {"retry-after": str(RETRY_AFTER_S)}
        raise ApiError(429, full, code=QUEUED_ITEMS, kind="rate_limit_error", headers=headers)


@dataclass(frozen=True, slots=True)
class Storage:
    """What one upload may take of its tenant's storage; `most_bytes` None: whatever the server takes."""

    behind: Services
    tenant: str
    most_bytes: int | None = None
    stored_bytes: int = 0

    def refuse(self, file_bytes: int) -> None:
        """Raises ApiError 413 for a file of so many bytes, or at least so many, that does not fit."""
        if self.most_bytes is None:
            return
        problem = beyond_storage(self.stored_bytes, file_bytes, self.most_bytes)
        if problem is not None:
            raise ApiError(413, problem, param="file", code="storage_limit_exceeded")

    def refuse_length(self, content_length: str | None) -> None:
        """The same for a form of so many bytes as its sender announces, before any of it is read."""
        if content_length and content_length.isascii() and content_length.isdigit():
            self.refuse(max(0, int(content_length[:18]) - FORM_BYTES))

    async def claim(self, file_id: str, file_bytes: int) -> None:
        """Count a whole file that nobody sees yet, so that of two which fit alone only one may stay, or none.

        Raises: ApiError 413 where it does not fit beside what has come meanwhile.
        """
        if self.most_bytes is None:
            return
        stored_bytes = await self.behind.run(self.behind.files.claim, file_id, self.tenant, file_bytes)
        Storage(self.behind, self.tenant, self.most_bytes, stored_bytes).refuse(file_bytes)


async def storage_of(behind: Services, tenant: str) -> Storage:
    """What is left to a tenant now."""
    try:
        most_bytes = (await behind.run(behind.tenants.rules_of, tenant)).limits.max_storage_bytes
    except LookupError:  # it is being erased
        most_bytes = None
    stored_bytes = 0 if most_bytes is None else await behind.run(behind.files.stored_bytes, tenant)
    return Storage(behind, tenant, most_bytes, stored_bytes)
