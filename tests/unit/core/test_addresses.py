"""Where a webhook may lead: public addresses alone, in whatever wrapping and notation the others come."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.addresses import BadTarget, Rules, embedded, is_public, networks, target_of

STRICT = Rules()
V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
# Each puts an IPv4 address into an IPv6 one that leads to it.
WRAPPINGS: dict[str, Callable[[int], int]] = {
    "mapped": lambda v4: 0xFFFF << 32 | v4,
    "nat64": lambda v4: 0x0064FF9B << 96 | v4,
    "local nat64": lambda v4: 0x0064FF9B0001 << 80 | v4,
    "6to4": lambda v4: 0x2002 << 112 | v4 << 80 | 1,
    "teredo server": lambda v4: 0x20010000 << 96 | v4 << 64 | (~0x08080808 & 0xFFFFFFFF),
    "teredo client": lambda v4: 0x20010000 << 96 | 0x08080808 << 64 | (~v4 & 0xFFFFFFFF),
}
# Of these the address they carry decides; the others are refused whatever it is.
OPEN = ("mapped", "nat64")


def wrapped(how: str, inner: IPv4Address) -> IPv6Address:
    return IPv6Address(WRAPPINGS[how](int(inner)))


@settings(max_examples=40)  # most are let through by nobody
@given(st.one_of(V4, V6))
def test_what_is_let_through_is_global_to_the_standard_library_too(
    address: IPv4Address | IPv6Address,
) -> None:
    judged = embedded(address) or (address,)
    assert not is_public(address) or all(each.is_global and not each.is_multicast for each in judged)


@given(V4, st.sampled_from(sorted(WRAPPINGS)))
def test_an_address_that_is_refused_is_refused_in_every_wrapping(inner: IPv4Address, how: str) -> None:
    assert inner in embedded(wrapped(how, inner))
    assert is_public(wrapped(how, inner)) == (how in OPEN and is_public(inner))


@given(
    st.sampled_from(["127.0.0.1", "10.1.2.3", "169.254.169.254", "168.63.129.16"]),
    st.sampled_from(sorted(WRAPPINGS)),
)
def test_known_targets_are_refused_in_every_wrapping(inner: str, how: str) -> None:
    assert not is_public(wrapped(how, IPv4Address(inner)))


@given(st.lists(st.one_of(V4, V6), min_size=1))
def test_one_bad_address_spoils_a_name(addresses: list[IPv4Address | IPv6Address]) -> None:
    if all(map(is_public, addresses)):
        assert set(STRICT.choose(addresses)) == set(addresses)
    else:
        with pytest.raises(BadTarget, match="not public"):
            STRICT.choose(addresses)


def test_a_name_without_an_address_leads_nowhere() -> None:
    with pytest.raises(BadTarget):
        STRICT.choose([])


def test_a_network_that_is_allowed_lets_nothing_else_through_by_what_its_addresses_carry() -> None:
    rules = Rules(private=networks("10.0.0.0/8, 64:ff9b:1::/48"))
    assert not rules.refuses(ip_address("10.1.2.3"))
    assert rules.refuses(ip_address("192.168.0.1"))
    assert not rules.refuses(wrapped("local nat64", IPv4Address("10.1.2.3")))
    assert not rules.refuses(wrapped("local nat64", IPv4Address("8.8.8.8")))
    assert rules.refuses(wrapped("local nat64", IPv4Address("127.0.0.1")))


@given(st.one_of(V4, V6))
def test_all_allows_all_and_none_nothing_private(address: IPv4Address | IPv6Address) -> None:
    assert not Rules(private=networks("all")).refuses(address)
    assert Rules(private=networks("none")).refuses(address) == (not is_public(address))


@pytest.mark.parametrize("text", ["true", "10.0.0.0/40", "10.0.0.0/8,,", "example.com"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        networks(text)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "header"),
    [
        ("https://Hooks.Example.com", "hooks.example.com", 443, "/", "hooks.example.com"),
        ("https://hooks.example.com./a?b=c", "hooks.example.com", 443, "/a?b=c", "hooks.example.com"),
        ("https://hooks.example.com:8443/", "hooks.example.com", 8443, "/", "hooks.example.com:8443"),
        ("https://8.8.8.8/x", "8.8.8.8", 443, "/x", "8.8.8.8"),
        ("https://[2606:4700::1111]:4433", "2606:4700::1111", 4433, "/", "[2606:4700::1111]:4433"),
        ("https://xn--bcher-kva.example/%20", "xn--bcher-kva.example", 443, "/%20", "xn--bcher-kva.example"),
    ],
)
def test_a_good_url_is_taken_apart(url: str, host: str, port: int, path: str, header: str) -> None:
    target = target_of(url, STRICT)
    assert (target.host, target.port, target.path, target.host_header) == (host, port, path, header)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "//hooks.example.com/",
        "https://",
        "https:///path",
        "https://user@hooks.example.com/",
        "https://user:word@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com/#there",
        "https://hooks.example.com:80/",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:65536/",
        "https://hooks.example.com:x/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nx-header: 1",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://bücher.example/",
        "https://１２７.0.0.1/",
        "https://hooks..example.com/",
        "https://-x.example.com/",
        "https://" + "a" * 64 + ".example.com/",
        "https://" + "a." * 130 + "com/",
        "https://hooks.example.com/" + "a" * 2048,
        "https://localhost/",
        "https://x.localhost/",
        "https://intranet/",
        "https://127.0.0.1/",
        "https://127.0.0.1./",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://8.8.8.010/",
        "https://8.8.2056/",
        "https://0x7f.0.0.0x1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://[2606:4700::1111%1]/",
        "https://[v1.x]/",
        "https://[2606:4700::1111/",
        "https://169.254.169.254/latest/",
    ],
)
def test_whatever_else_is_refused(url: str) -> None:
    with pytest.raises(BadTarget):
        target_of(url, STRICT)


def test_http_and_single_names_need_their_settings() -> None:
    assert target_of("http://hooks.example.com/", Rules(http=True)).port == 80
    assert target_of("https://receiver:8443/", Rules(private=networks("10.0.0.0/8"))).host == "receiver"


@given(st.text(max_size=60))
def test_no_text_becomes_a_target_that_could_break_a_request_line(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com/{text}"):
        try:
            target = target_of(url, Rules(http=True, private=networks("all")))
        except BadTarget:
            continue
        for part in (target.host_header, target.path):
            assert part.isascii() and part.isprintable() and " " not in part


def test_a_target_does_not_show_its_query() -> None:
    assert "hidden" not in repr(target_of("https://example.com/?token=hidden", STRICT))
