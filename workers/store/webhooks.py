"""A tenant's endpoints (`webhooks`): where it is told of events, of which, and with which secrets.

An endpoint: _id (whk_...), tenant, name (may be missing), url, events (patterns), enabled, disabled_reason, secrets
[{secret, until}] (the first signs for good, the others until their date), created_at, updated_at (Unix seconds). A
secret is kept readable: it signs; it is shown once, by whoever made it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from pymongo import ReturnDocument

from workers.core.identity import new_id
from workers.core.webhooks import secret_from, wants
from workers.store.mongo import NEVER, NOW_S, Db, Doc, after_s

MOST_ENDPOINTS = 50
# More than these never sign at once: a header has its bounds.
_MOST_SECRETS = 3
GONE_REASON = "it answered 410 Gone"


def new_secret() -> str:
    """A fresh signing secret of 32 bytes."""
    return secret_from(secrets.token_bytes(32))


class Webhooks:
    """Make, read, change and remove endpoints; every call but `who_wants` and `disable` is a tenant's."""

    def __init__(self, db: Db) -> None:
        self._docs = db["webhooks"]

    def create(
        self,
        tenant: str,
        url: str,
        events: Sequence[str],
        secret: str,
        *,
        enabled: bool,
        now_s: float,
        name: str = "",
    ) -> Doc | None:
        """A new endpoint; None where the tenant has as many as it may."""
        if self._docs.count_documents({"tenant": tenant}, limit=MOST_ENDPOINTS) >= MOST_ENDPOINTS:
            return None
        doc: Doc = {
            "_id": new_id("whk_", int(now_s * 1000)),
            "tenant": tenant,
            "name": name,
            "url": url,
            "events": list(events),
            "enabled": enabled,
            "disabled_reason": None,
            "secrets": [{"secret": secret, "until": None}],
            "created_at": now_s,
            "updated_at": now_s,
        }
        self._docs.insert_one(doc)
        return doc

    def page(self, tenant: str) -> list[Doc]:
        """All of the tenant's endpoints, oldest first."""
        return list(self._docs.find({"tenant": tenant}).sort("_id", 1).limit(MOST_ENDPOINTS * 2))

    def get(self, endpoint_id: str, tenant: str) -> Doc | None:
        """The tenant's endpoint."""
        return self._docs.find_one({"_id": endpoint_id, "tenant": tenant})

    def who_wants(self, tenants: Iterable[str]) -> dict[str, list[Doc]]:
        """The enabled endpoints of these tenants."""
        found: dict[str, list[Doc]] = {}
        for doc in self._docs.find({"tenant": {"$in": list(tenants)}, "enabled": True}):
            found.setdefault(doc["tenant"], []).append(doc)
        return found

    def change(self, endpoint_id: str, tenant: str, new: dict[str, Any]) -> Doc | None:
        """Write these of name, url, events and enabled; None if there is no such endpoint."""
        literal: Doc = {name: {"$literal": value} for name, value in new.items()}
        if new.get("enabled"):
            literal["disabled_reason"] = None
        return self._update(endpoint_id, tenant, literal)

    def rotate(self, endpoint_id: str, tenant: str, secret: str, grace_s: float) -> Doc | None:
        """Sign by a new secret; what signed until now signs beside it for `grace_s` more, at most."""
        until = {"$min": [{"$ifNull": ["$$old.until", NEVER]}, after_s(grace_s)]}
        kept = {
            "$map": {
                "input": {"$slice": ["$secrets", _MOST_SECRETS - 1]},
                "as": "old",
                "in": {"secret": "$$old.secret", "until": until},
            }
        }
        # The same rotation sent again must not end the grace of what came before it.
        again = {"$eq": [{"$first": "$secrets.secret"}, {"$literal": secret}]}
        fresh = [{"secret": {"$literal": secret}, "until": None}]
        return self._update(
            endpoint_id, tenant, {"secrets": {"$cond": [again, "$secrets", {"$concatArrays": [fresh, kept]}]}}
        )

    def disable(self, endpoint_id: str, url: str, reason: str) -> None:
        """Tell it nothing more, until its tenant enables it; not if it is at another URL by now."""
        new = {"enabled": False, "disabled_reason": {"$literal": reason}, "updated_at": NOW_S}
        self._docs.update_one({"_id": endpoint_id, "enabled": True, "url": url}, [{"$set": new}])

    def remove(self, endpoint_id: str, tenant: str) -> bool:
        """Take it away; deliveries to it die at their next attempt."""
        return bool(self._docs.delete_one({"_id": endpoint_id, "tenant": tenant}).deleted_count)

    def _update(self, endpoint_id: str, tenant: str, new: Doc) -> Doc | None:
        return self._docs.find_one_and_update(
            {"_id": endpoint_id, "tenant": tenant},
            [{"$set": new | {"updated_at": NOW_S}}],
            return_document=ReturnDocument.AFTER,
        )


def wanting(endpoints: Iterable[Doc], kind: str) -> list[Doc]:
    """Those of them that asked for events of this type."""
    return [doc for doc in endpoints if wants(doc["events"], kind)]
