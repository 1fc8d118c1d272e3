"""Tenants and their API keys. A key is stored only as its keyed hash; the pepper stays in `meta`."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from bson import Binary
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from workers.core.identity import api_key_hash
from workers.store.mongo import Db

DEFAULT_TENANT = "default"


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


class Tenants:
    """Find tenants by id or by API key; make the first one."""

    def __init__(self, db: Db) -> None:
        self._tenants, self._keys, self._meta = db["tenants"], db["api_keys"], db["meta"]
        self._pepper: bytes | None = None

    def ensure(self, tenant_id: str = DEFAULT_TENANT) -> Tenant:
        """The tenant, made with a fresh secret if it does not exist."""
        fresh = {
            "secret": Binary(secrets.token_bytes(32)),
            "generation": 1,
            "weight": 1.0,
            "created_at": time.time(),
        }
        self._tenants.update_one({"_id": tenant_id}, {"$setOnInsert": fresh}, upsert=True)
        return self.get(tenant_id)

    def get(self, tenant_id: str) -> Tenant:
        """The tenant. Raises LookupError if there is none of that id."""
        doc = self._tenants.find_one({"_id": tenant_id})
        if doc is None:
            raise LookupError(f"no tenant {tenant_id!r}")
        return Tenant(doc["_id"], bytes(doc["secret"]), doc["generation"], doc["weight"])

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

    def weights(self) -> dict[str, float]:
        """Every tenant's weight."""
        return {doc["_id"]: doc["weight"] for doc in self._tenants.find({}, {"weight": 1})}

    def add_key(self, tenant_id: str, key: str, *, name: str) -> None:
        """Let `key` act for the tenant; adding it again changes nothing."""
        doc = {"tenant": tenant_id, "name": name, "prefix": key[:6], "created_at": time.time()}
        self._keys.update_one({"_id": self._hash(key)}, {"$setOnInsert": doc}, upsert=True)

    def tenant_of_key(self, key: str) -> str | None:
        """The tenant a key acts for; None for an unknown or revoked one."""
        doc = self._keys.find_one({"_id": self._hash(key), "revoked_at": None}, {"tenant": 1})
        return doc["tenant"] if doc else None

    def _hash(self, key: str) -> str:
        if self._pepper is None:
            self._pepper = self._load_pepper()
        return api_key_hash(key, self._pepper)

    def _load_pepper(self) -> bytes:
        try:
            doc = self._meta.find_one_and_update(
                {"_id": "api_key_pepper"},
                {"$setOnInsert": {"value": Binary(secrets.token_bytes(32))}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        except DuplicateKeyError:  # another process made it in the same instant
            doc = self._meta.find_one({"_id": "api_key_pepper"})
        if doc is None:
            raise LookupError("the API key pepper vanished from `meta`")
        return bytes(doc["value"])
