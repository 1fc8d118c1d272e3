"""The settings of what faces the world: the HTTP API, Flower, webhooks. Branches of the tree (tree.py)."""

from __future__ import annotations

from dataclasses import dataclass

from config.secret import Secret
from config.setting import setting

_HTTP = ("http", "https")
_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The HTTP API: where it listens, what it takes, and how clients of ours reach it."""

    host: str = setting("127.0.0.1", "Address the API listens on.")
    port: int = setting(8000, "API's port; 0, or unset and taken: a free one.", minimum=0, maximum=65_535)
    max_file_bytes: int = setting(200 * _MB, "Largest input file of a batch.", minimum=1)
    max_other_file_bytes: int = setting(512 * _MB, "Largest file of another purpose.", minimum=1)
    max_requests: int = setting(50_000, "Most requests in one input file.", minimum=1)
    max_streams: int = setting(1_000, "Most open event streams and WebSockets of one API process.", minimum=1)
    max_streams_per_tenant: int = setting(100, "Most of them that one tenant may have.", minimum=1)
    messages_per_minute: int = setting(30, "Messages that one WebSocket may send in a minute.", minimum=1)
    url: str | None = setting(
        None, "API the command line talks to. Unset: the running stack's.", schemes=_HTTP
    )
    key: Secret | None = setting(
        None, "API key the command line sends, here or to `url`. Unset: the stack's own.", sensitive=True
    )
    bootstrap_key: Secret | None = setting(
        None,
        "An API key of the first tenant, taken in at every start of the API.",
        also=("BATCHWRIGHT_BOOTSTRAP_KEY",),
        sensitive=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flower:
    """The monitoring page. Everybody is asked for the password, whatever the address."""

    host: str = setting("127.0.0.1", "Address Flower listens on.")
    port: int = setting(5555, "Flower's port; 0, or unset and taken: a free one.", minimum=0, maximum=65_535)
    enabled: bool = setting(True, "Start Flower with the stack. The small profile turns it off.")
    user: str = setting("batchwright", "Who may see Flower.")
    password: Secret | None = setting(
        None,
        "Flower's password. Unset: the stack makes one; without a stack Flower does not start.",
        sensitive=True,
    )
    max_tasks: int = setting(20_000, "Tasks that Flower keeps in memory, the newest; 3 KB each.", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where events may be sent: by default to public addresses over HTTPS alone."""

    allow_http: bool = setting(False, "Webhooks may go to http:// URLs, too; for development.")
    allow_private: str = setting(
        "none",
        "Networks that are not public and may be reached all the same: none, all, or 10.0.0.0/8,127.0.0.1.",
    )
    timeout_s: float = setting(15.0, "One attempt in all, from lookup to answer.", minimum=1, maximum=60)
    proxy: str | None = setting(
        None, "Proxy for webhooks; it must refuse what is private itself.", schemes=_HTTP, sensitive=True
    )
