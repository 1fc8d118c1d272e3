"""Where a webhook may lead: which URLs are taken, and which addresses their names may have. Pure.

app/api/webhooks.py asks when a URL is registered and workers/notify.py before every attempt, with the addresses that
the name has then. The blocks are those of the IANA special-purpose address registries (RFC 6890) that are not globally
reachable, beside multicast and one address that a cloud serves to its machines alone. An IPv6 address that carries an
IPv4 one leads where that one leads, so it is judged by it, too: IPv4-mapped (RFC 4291), NAT64 (RFC 6052, RFC 8215),
6to4 (RFC 3056) and Teredo (RFC 4380).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_CHARACTERS = 2048
NOT_PUBLIC = "leads to an address that is not public"
_PORTS = {"http": 80, "https": 443}
_FIRST_FREE_PORT = 1024
# What may stand in a request line as it is: no blank, no control character, no backslash, nothing beyond ASCII.
_VISIBLE = re.compile(r"[!-\[\]-~]+")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label such as 1, 0x7f or 017 makes a resolver read the whole name as a number.
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_MAX_NAME_CHARACTERS = 253

_REFUSED_V4 = tuple(
    IPv4Network(block)
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # A public number, but only Azure's machines reach it, and it tells them their secrets.
        "168.63.129.16/32",
    )
)
# Of IPv6 only this is given out as globally reachable unicast, but for the blocks inside it.
_GLOBAL_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_MAPPED, _SIX_TO_FOUR, _TEREDO = (IPv6Network(b) for b in ("::ffff:0:0/96", "2002::/16", "2001::/32"))
_NAT64, _LOCAL_NAT64 = IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48")


class BadTarget(ValueError):
    """This URL is not taken; the message says why, for whoever gave it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. `host` is a lower-case ASCII name without a last dot, or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)  # with the query, which may hold a secret

    @property
    def literal(self) -> Address | None:
        """The address, where the host is one and no name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def host_header(self) -> str:
        """The host as HTTP names it: an IPv6 address in brackets, the port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows beside HTTPS to public addresses.

    Attributes:
        private: networks that may be reached although they are not public.
    """

    http: bool = False
    private: tuple[Network, ...] = ()

    def refuses(self, address: Address) -> bool:
        """Whether no webhook may be sent there."""
        if any(address in network for network in self.private):
            # What it carries is judged for itself: a gateway's network says nothing of what lies behind it.
            return any(self.refuses(inner) for inner in embedded(address) if not _within(inner, self.private))
        return not is_public(address)

    def choose(self, addresses: Sequence[Address]) -> tuple[Address, ...]:
        """All of these addresses of one name, none twice. Raises BadTarget unless every one of them is allowed.

        One bad address spoils the name: which of them is called would be the name's owner's choice.
        """
        if not addresses or any(map(self.refuses, addresses)):
            # Which address it was is not told: that would let anybody read the names of this network.
            raise BadTarget(NOT_PUBLIC if addresses else "has no address")
        return tuple(dict.fromkeys(addresses))


def is_public(address: Address) -> bool:
    """Whether an address can be reached by everybody, and whatever it carries can, too."""
    if isinstance(address, IPv4Address):
        return not _within(address, _REFUSED_V4)
    inner = embedded(address)
    if address in _MAPPED or address in _NAT64:
        return all(map(is_public, inner))
    # Nobody serves 6to4 and Teredo any more; they lie in the refused blocks, whatever they carry.
    return address in _GLOBAL_V6 and not _within(address, _REFUSED_V6) and all(map(is_public, inner))


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 one, in the four forms that lead to them."""
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    last = IPv4Address(number & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64 or address in _LOCAL_NAT64:
        return (last,)
    if address in _SIX_TO_FOUR:
        return (IPv4Address(number >> 80 & 0xFFFFFFFF),)
    if address in _TEREDO:
        # The server in clear, the client with every bit turned round.
        return (IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(~int(last) & 0xFFFFFFFF))
    return ()


def target_of(url: str, rules: Rules) -> Target:
    """Take a webhook's URL apart. A name's addresses are not known here; `Rules.choose` judges those.

    Raises: BadTarget for whatever no webhook is sent to.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise BadTarget(f"is longer than {MAX_URL_CHARACTERS} characters")
    if not _VISIBLE.fullmatch(url):
        raise BadTarget(
            "holds a character that is not visible ASCII, or a backslash; "
            "write a name in its xn-- form and encode the rest by percent signs"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadTarget("is not a URL") from None
    if parts.scheme not in (("http", "https") if rules.http else ("https",)):
        raise BadTarget("must begin with https://" + (" or http://" if rules.http else ""))
    if "@" in parts.netloc:
        raise BadTarget("must not hold a user name or a password")
    if "#" in url:
        raise BadTarget("must not have a fragment (#)")
    usual = _PORTS[parts.scheme]
    if port is not None and port != usual and port <= _FIRST_FREE_PORT:
        raise BadTarget(f"has a port that is neither {usual} nor above {_FIRST_FREE_PORT}")
    host = _host(parts.netloc, (parts.hostname or "").lower(), rules)
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, host, usual if port is None else port, (parts.path or "/") + query)


def networks(text: str) -> tuple[Network, ...]:
    """The setting `webhook.allow_private`: `none`, `all`, or networks and addresses with commas between them.

    Raises: ValueError for anything else.
    """
    word = text.strip().lower()
    if word in ("", "none"):
        return ()
    if word == "all":
        return (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    return tuple(ip_network(part.strip(), strict=False) for part in word.split(","))


def _host(netloc: str, host: str, rules: Rules) -> str:
    if netloc.startswith("["):
        address = _literal(IPv6Address, host)
    else:
        host = host.removesuffix(".")
        labels = host.split(".")
        if not _NUMBER.fullmatch(labels[-1]):
            return _name(host, labels, rules)
        # Only the usual four numbers: 127.1, 0x7f000001 and 0177.0.0.1 mean other addresses to other readers.
        address = _literal(IPv4Address, host)
    if rules.refuses(address):
        raise BadTarget(NOT_PUBLIC)
    return str(address)


def _literal(kind: type[IPv4Address | IPv6Address], text: str) -> Address:
    try:
        if "%" in text:
            raise ValueError("a zone")
        return kind(text)
    except ValueError:
        raise BadTarget("has a host that is no name and no address in its usual form") from None


def _name(host: str, labels: Sequence[str], rules: Rules) -> str:
    if len(host) > _MAX_NAME_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise BadTarget("has no host name that can be looked up")
    if not rules.private and (len(labels) == 1 or labels[-1] == "localhost"):
        raise BadTarget(NOT_PUBLIC)
    return host


def _within(address: Address, blocks: Sequence[Network]) -> bool:
    return any(address in block for block in blocks)
