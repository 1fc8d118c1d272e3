"""API keys (`api_keys`): stored as keyed hashes alone, with what each may do and until when.

A document: _id (blake3 of the key under the installation's pepper), id (key_...), tenant, name, prefix, scopes,
rotated_from (another one's id), created_at, expires_at, revoked_at and last_used_at (Unix seconds; the server's clock
judges them). A document of an earlier version has no id until `adopt`, and no scopes, which means all. The pepper stays
in `meta`.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bson import Binary
from pymongo import DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from workers.core.api_keys import SCOPES, Scope, allowed, recognisable
from workers.core.identity import api_key_hash, new_api_key, new_key_id
from workers.store.mongo import NOW_S, Db, Doc

USE_EVERY_S = 60.0
_NEVER_S = float("inf")
_EXPIRED: Doc = {"$lte": [{"$ifNull": ["$expires_at", _NEVER_S]}, NOW_S]}
# A rotated key is revoked at a time to come: until then it works.
_REVOKED: Doc = {"$lte": [{"$ifNull": ["$revoked_at", _NEVER_S]}, NOW_S]}
_SHOWN: Doc = {
    **dict.fromkeys(
        ("tenant", "id", "name", "prefix", "scopes", "created_at", "expires_at", "revoked_at"), 1
    ),
    **dict.fromkeys(("last_used_at", "rotated_from"), 1),
    "expired": _EXPIRED,
    "revoked": _REVOKED,
}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; never the key itself.

    Attributes:
        scopes: as they were given; core/api_keys.py says what they allow.
        expired, revoked: whether they are so now, by the database's clock. A `revoked_at` may lie ahead.
        rotated_from: the id of the key in whose place it came.
    """

    id: str
    tenant: str
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    rotated_from: str | None
    expired: bool
    revoked: bool

    @property
    def allows(self) -> frozenset[Scope]:
        """What it may do."""
        return allowed(self.scopes)

    @property
    def ends_at(self) -> float | None:
        """When it ends, expired or, after a rotation with grace, revoked; None: it lasts."""
        return min((at for at in (self.expires_at, self.revoked_at) if at is not None), default=None)


class ApiKeys:
    """Make, find, list, rotate and revoke keys. With `tenant` a method sees that tenant's keys alone."""

    def __init__(self, db: Db) -> None:
        self._docs, self._meta, self._tenants = db["api_keys"], db["meta"], db["tenants"]
        self._pepper: bytes | None = None

    # --- making

    def add(self, tenant: str, key: str, *, name: str) -> None:
        """Let a key that somebody has chosen act for the tenant, with every scope; a known one stays as it is."""
        doc = _new(tenant, key, name=name, scopes=SCOPES, expires_at=None, rotated_from=None)
        self._docs.update_one({"_id": self._hash(key)}, {"$setOnInsert": doc}, upsert=True)

    def create(
        self,
        tenant: str,
        *,
        name: str,
        scopes: Sequence[Scope],
        expires_at: float | None,
        rotated_from: str | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key, and what is known of it. The key can be had nowhere else and never again."""
        key = new_api_key()
        doc = _new(
            tenant, key, name=name, scopes=scopes, expires_at=expires_at, rotated_from=rotated_from
        ) | {"_id": self._hash(key)}
        self._docs.insert_one(doc)
        return _of(doc | {"expired": False, "revoked": False}), key

    def adopt(self) -> int:
        """Give keys of an earlier version the id by which they are listed and revoked; gives how many."""
        adopted = 0
        for doc in self._docs.find({"id": None}, {"created_at": 1}):
            new = {"$set": {"id": new_key_id(int(doc.get("created_at", 0) * 1000))}}
            adopted += self._docs.update_one({"_id": doc["_id"], "id": None}, new).modified_count
        return adopted

    # --- finding

    def find(self, key: str) -> ApiKey | None:
        """The key that somebody presents, also an expired or revoked one. None where its tenant is not or is going.

        What is looked for is a hash under a secret: how long that takes tells nobody how near a guess was. The last
        word has a comparison whose time depends on nothing.
        """
        hashed = self._hash(key)
        doc = self._docs.find_one({"_id": hashed}, _SHOWN)
        if doc is None or not hmac.compare_digest(doc["_id"], hashed):
            return None
        if self._tenants.find_one({"_id": doc["tenant"], "erasing_since": None}, {"_id": 1}) is None:
            return None
        return _of(doc)

    def get(self, key_id: str, tenant: str | None = None) -> ApiKey | None:
        """The key of that id."""
        doc = self._docs.find_one(_where(key_id, tenant), _SHOWN)
        return _of(doc) if doc else None

    def page(self, tenant: str | None, *, after: str | None, limit: int) -> list[ApiKey]:
        """Newest first, those older than `after`; every tenant's for None."""
        where: Doc = {"id": {"$lt": after} if after else {"$gt": ""}}
        if tenant is not None:
            where["tenant"] = tenant
        return [_of(doc) for doc in self._docs.find(where, _SHOWN).sort("id", DESCENDING).limit(limit)]

    def has_other_admin(self, tenant: str, besides: str) -> bool:
        """Whether the tenant has a key that works, never expires and may do everything, besides the one of that id."""
        admin = {"$or": [{"scopes": "admin"}, {"scopes": None}]}
        lasting = {"tenant": tenant, "id": {"$ne": besides}, "expires_at": None, "revoked_at": None}
        return self._docs.find_one(lasting | admin, {"_id": 1}) is not None

    # --- ending

    def revoke(self, key_id: str, tenant: str | None = None, *, grace_s: float = 0.0) -> ApiKey | None:
        """Let the key work no longer than so many seconds from now; an earlier end stays. None if there is none."""
        ends = {"$min": [{"$ifNull": ["$revoked_at", _NEVER_S]}, {"$add": [NOW_S, grace_s]}]}
        self._docs.update_one(_where(key_id, tenant), [{"$set": {"revoked_at": ends}}])
        return self.get(key_id, tenant)

    def note_use(self, key_id: str) -> bool:
        """Write down that the key is in use, at most once a minute; gives whether it was written."""
        rested = {"$lte": [{"$add": [{"$ifNull": ["$last_used_at", 0]}, USE_EVERY_S]}, NOW_S]}
        where = {"id": key_id, "$expr": rested}
        return bool(self._docs.update_one(where, [{"$set": {"last_used_at": NOW_S}}]).modified_count)

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


def _where(key_id: str, tenant: str | None) -> Doc:
    return {"id": key_id} | ({"tenant": tenant} if tenant is not None else {})


def _new(
    tenant: str,
    key: str,
    *,
    name: str,
    scopes: Sequence[Scope],
    expires_at: float | None,
    rotated_from: str | None,
) -> Doc:
    now_s = time.time()
    return {
        "id": new_key_id(int(now_s * 1000)),
        "tenant": tenant,
        "name": name,
        "prefix": recognisable(key),
        "scopes": [each for each in SCOPES if each in scopes],
        "created_at": now_s,
        "expires_at": expires_at,
        "revoked_at": None,
        "last_used_at": None,
        "rotated_from": rotated_from,
    }


def _of(doc: Doc) -> ApiKey:
    scopes = doc.get("scopes")
    return ApiKey(
        id=doc.get("id") or "",
        tenant=doc["tenant"],
        name=doc.get("name") or "",
        prefix=doc.get("prefix") or "",
        scopes=SCOPES if scopes is None else tuple(each for each in SCOPES if each in scopes),
        created_at=doc.get("created_at", 0.0),
        expires_at=doc.get("expires_at"),
        revoked_at=doc.get("revoked_at"),
        last_used_at=doc.get("last_used_at"),
        rotated_from=doc.get("rotated_from"),
        expired=doc["expired"],
        revoked=doc["revoked"],
    )
