"""API keys: their form, what a key may do, and whether it still may. Pure.

    bw_ + 43 letters (32 random bytes as base64url) + 6 letters (CRC-32 of what stands before them)

The checksum tells a mistyped key from a wrong one without a look-up; it proves nothing. Keys of earlier versions have
none, and an operator's own first key may be any text. identity.py draws keys, store/api_keys.py keeps their hashes.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from typing import Literal, get_args

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_SCOPES: tuple[Scope, ...] = ("read", "submit")
PREFIX = "bw_"
MAX_GRACE_S = 7 * 86_400
MIN_LIFE_S, MAX_LIFE_S = 60, 10 * 366 * 86_400

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_RANDOM_CHARS, _CHECKSUM_CHARS = 43, 6
_CHARS = len(PREFIX) + _RANDOM_CHARS + _CHECKSUM_CHARS
_KEY_ID = re.compile(r"key_[0-9a-f]{32}")
# Also keys that overlap: what stands before one may look like the beginning of another.
_KEY = re.compile(rf"(?=(bw_[A-Za-z0-9_-]{{{_RANDOM_CHARS + _CHECKSUM_CHARS}}}))".encode())
# Whole or cut off: keys of ours, secrets of webhooks (standardwebhooks.com), what providers' keys begin with, what
# stands in an Authorization header, and the password in a URL. `sk-` ends many a word (`task-`), the others none.
_SECRET = re.compile(
    r"(bw_|whsec_|(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2}))sk-)[A-Za-z0-9_+/=-]{20,}"
    r"|(AIza|gsk_|xai-|hf_)[A-Za-z0-9_-]{20,}"
    r"|((?i:bearer|basic)(?: +|\+|%20))[A-Za-z0-9._~+/=-]{16,}"
    r"|(://[^\s/@:]{0,256}:)[^\s/@]+(?=@)"
)
# One of these is in whatever the pattern matches; to look for them is a fifth of its work.
_MARKS = ("bw_", "sk-", "://", "sec_", "aiza", "gsk_", "xai-", "hf_", "bearer", "basic")
SHORTEST_SECRET = 7  # `://:p@h`
# 5 letters are 30 of 256 random bits: enough to tell one's keys apart, and no help to whoever guesses.
_SHOWN_CHARS = len(PREFIX) + 5


def with_checksum(secret: str) -> str:
    """The whole key over 43 random letters."""
    text = PREFIX + secret
    return text + _checksum(text)


def is_mistyped(key: str) -> bool:
    """Whether the key is as long as one with a checksum, and the checksum is another one.

    A CRC finds every change within 32 neighbouring bits, so each single letter, and two that changed places.
    """
    if not key.startswith(PREFIX) or len(key) != _CHARS:
        return False
    return _checksum(key[:-_CHECKSUM_CHARS]) != key[-_CHECKSUM_CHARS:]


def recognisable(key: str) -> str:
    """The beginning of a key, to know it by in a list; of a text that is not one of our keys, nothing."""
    of_ours = key.startswith(PREFIX) and len(key) >= len(PREFIX) + _RANDOM_CHARS
    return key[:_SHOWN_CHARS] if of_ours else ""


def holds_key(data: bytes) -> bool:
    """Whether one of our keys stands in there, whole: by the checksum, so nearly nothing else is taken for one."""
    # The pattern looks ahead at every byte; that the prefix is nowhere is seen a hundred times as fast.
    return PREFIX.encode() in data and any(
        not is_mistyped(match[1].decode()) for match in _KEY.finditer(data)
    )


def without_secrets(text: str) -> str:
    """The text, with nothing but the beginning of whatever looks like a key or a signing secret in it."""
    lowered = text.lower()
    for mark in _MARKS:
        if mark in lowered:
            return _SECRET.sub(_begun, text)
    return text


def _begun(found: re.Match[str]) -> str:
    return f"{found[found.lastindex or 0]}********"


def is_key_id(text: str) -> bool:
    """Whether it can be the id of a key. Somebody may send a key in its place, which nothing must show or store."""
    return _KEY_ID.fullmatch(text) is not None


def allowed(scopes: Iterable[str] | None) -> frozenset[Scope]:
    """What a key with these scopes may do: `admin` includes the others. None: a key from before there were scopes."""
    if scopes is None:
        return frozenset(SCOPES)
    given = set(scopes)
    return frozenset(SCOPES) if "admin" in given else frozenset(each for each in SCOPES if each in given)


def scopes_beyond(own: frozenset[Scope], wanted: Iterable[Scope]) -> list[Scope]:
    """Those of the wanted scopes that whoever has only `own` cannot give away."""
    return [each for each in SCOPES if each in allowed(wanted) - own]


def outlives(own_ends_at: float | None, wanted_expires_at: float | None) -> bool:
    """Whether a key that expires then (Unix seconds; None: never) would work on after the one that makes it."""
    if own_ends_at is None:
        return False
    return wanted_expires_at is None or wanted_expires_at > own_ends_at


def _checksum(text: str) -> str:
    number = binascii.crc32(text.encode("utf-8", "replace"))
    return "".join(_ALPHABET[number >> 6 * place & 63] for place in reversed(range(_CHECKSUM_CHARS)))
