"""Tenants (`tenants`): who owns batches, files, keys and a cache namespace, and what is settled for each.

A document: _id (its name), secret, generation, created_at; display_name, weight, retention_days, limits {<name>},
max_cost_usd_per_month, each of which may be missing (core/tenancy.py reads them); erasing_since (date) from the moment
on in which it is to go: its keys work no more, and workers/erasure.py takes away what it has. Keys: api_keys.py.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import Binary
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from workers.core.tenancy import DEFAULT_WEIGHT, TenantRules, rules_in
from workers.store.mongo import NEVER, NOW, Db, Doc, after_s

DEFAULT_TENANT = "default"
# So long a tenant's document stays behind its mark, and its name with it: a request that was let in before has ended
# by then, or asks `stays` before it stores anything. A key is looked up again within seconds.
LINGERS_S = 60.0
_RULES = {"weight": 1, "limits": 1, "max_cost_usd_per_month": 1, "retention_days": 1}
_SHOWN = {**_RULES, "display_name": 1, "created_at": 1, "erasing_since": 1}


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who owns batches, files and a cache namespace.

    Attributes:
        secret: 32 bytes that key every fingerprint of the tenant; never leaves MongoDB and our processes.
        generation: raising it forgets every cached answer of the tenant at once.
        weight: its share of a contended provider.
    """

    id: str
    secret: bytes
    generation: int
    weight: float


@dataclass(frozen=True, slots=True)
class TenantEntry:
    """A tenant as its operator sees it: what is settled, and whether it is going."""

    id: str
    display_name: str | None
    rules: TenantRules
    created_at: float
    erasing_since: datetime | None


class Tenants:
    """Make, find, settle and mark tenants."""

    def __init__(self, db: Db) -> None:
        self._tenants = db["tenants"]

    # --- making and settling

    def ensure(self, tenant_id: str = DEFAULT_TENANT) -> Tenant:
        """The tenant, made with a fresh secret if it does not exist."""
        self._tenants.update_one({"_id": tenant_id}, {"$setOnInsert": _fresh()}, upsert=True)
        return self.get(tenant_id)

    def create(self, tenant_id: str, settled: Mapping[str, Any]) -> bool:
        """A new tenant with this settled (fields of the document, limits as `limits.<name>`). False if it exists."""
        try:
            self._tenants.insert_one({"_id": tenant_id} | _fresh() | _nested(settled))
        except DuplicateKeyError:
            return False
        return True

    def settle(self, tenant_id: str, settled: Mapping[str, Any]) -> bool:
        """Change what is named, None taking it back. False if there is no such tenant, or it is being erased."""
        new: Doc = {}
        if kept := {name: value for name, value in settled.items() if value is not None}:
            new["$set"] = kept
        if gone := {name: "" for name, value in settled.items() if value is None}:
            new["$unset"] = gone
        where = {"_id": tenant_id, "erasing_since": None}
        if not new:
            return self._tenants.find_one(where, {"_id": 1}) is not None
        return bool(self._tenants.update_one(where, new).matched_count)

    # --- reading

    def get(self, tenant_id: str) -> Tenant:
        """The tenant. Raises LookupError if there is none of that id."""
        doc = self._tenants.find_one({"_id": tenant_id})
        if doc is None:
            raise LookupError(f"no tenant {tenant_id!r}")
        return Tenant(doc["_id"], bytes(doc["secret"]), doc["generation"], doc.get("weight", DEFAULT_WEIGHT))

    def entry(self, tenant_id: str) -> TenantEntry | None:
        """What its operator sees of it."""
        doc = self._tenants.find_one({"_id": tenant_id}, _SHOWN)
        return _entry(doc) if doc else None

    def stays(self, tenant_id: str, asked_at_s: float) -> bool:
        """Whether it is still there for somebody whose key was taken at that time (Unix seconds).

        A name that is free again may be another tenant's by now; until then it takes longer than clocks differ.
        """
        there_then = {"created_at": {"$lt": asked_at_s + LINGERS_S}}
        where = {"_id": tenant_id, "erasing_since": None} | there_then
        return self._tenants.find_one(where, {"_id": 1}) is not None

    def page(self, *, after: str | None, limit: int) -> list[TenantEntry]:
        """By name, those after `after`."""
        found = self._tenants.find({"_id": {"$gt": after or ""}}, _SHOWN).sort("_id", 1).limit(limit)
        return [_entry(doc) for doc in found]

    def rules(self) -> dict[str, TenantRules]:
        """What is settled for every tenant."""
        return {doc["_id"]: rules_in(doc) for doc in self._tenants.find({}, _RULES)}

    def rules_of(self, tenant_id: str) -> TenantRules:
        """What is settled for this one. Raises LookupError if there is none of that id."""
        doc = self._tenants.find_one({"_id": tenant_id}, _RULES)
        if doc is None:
            raise LookupError(f"no tenant {tenant_id!r}")
        return rules_in(doc)

    # --- forgetting

    def raise_generation(self, tenant_id: str) -> int:
        """Put every cached answer of the tenant out of reach; gives the new generation. Raises LookupError.

        Nothing is deleted: the old entries lie under keys that nobody asks for any more, until they expire.
        """
        doc = self._tenants.find_one_and_update(
            {"_id": tenant_id}, {"$inc": {"generation": 1}}, return_document=ReturnDocument.AFTER
        )
        if doc is None:
            raise LookupError(f"no tenant {tenant_id!r}")
        return int(doc["generation"])

    def begin_erasing(self, tenant_id: str) -> bool:
        """Mark the tenant as going, and put its cached answers out of reach. False if there is none.

        From here on no key of its works, and nothing brings it back. The first tenant stays.
        """
        where = {"_id": tenant_id, "erasing_since": None}
        if tenant_id != DEFAULT_TENANT:
            new = {"erasing_since": NOW, "generation": {"$add": ["$generation", 1]}}
            self._tenants.update_one(where, [{"$set": new}])
        return self._tenants.find_one({"_id": tenant_id, "erasing_since": {"$lt": NEVER}}) is not None

    def erasing(self) -> Sequence[str]:
        """Tenants that are going."""
        return [doc["_id"] for doc in self._tenants.find({"erasing_since": {"$lt": NEVER}}, {"_id": 1})]

    def remove(self, tenant_id: str, *, marked_s: float) -> bool:
        """Take away the document of a tenant that has been marked for so many seconds; all it had is gone by now."""
        long_ago = {"$expr": {"$lte": ["$erasing_since", after_s(-marked_s)]}}
        where = {"_id": tenant_id, "erasing_since": {"$lt": NEVER}} | long_ago
        return bool(self._tenants.delete_one(where).deleted_count)


def _fresh() -> Doc:
    return {
        "secret": Binary(secrets.token_bytes(32)),
        "generation": 1,
        "weight": DEFAULT_WEIGHT,
        "created_at": time.time(),
    }


def _nested(settled: Mapping[str, Any]) -> Doc:
    doc: Doc = {}
    for path, value in settled.items():
        name, _, part = path.partition(".")
        if value is not None and part:
            doc.setdefault(name, {})[part] = value
        elif value is not None:
            doc[name] = value
    return doc


def _entry(doc: Doc) -> TenantEntry:
    return TenantEntry(
        doc["_id"], doc.get("display_name"), rules_in(doc), doc["created_at"], doc.get("erasing_since")
    )
