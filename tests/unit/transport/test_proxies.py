"""Which proxy leads to a base URL."""

from __future__ import annotations

import pytest

from workers.transport.proxies import proxy_for

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("base_url", "proxies", "expected"),
    [
        ("https://api.example/v1", {"https": PROXY}, PROXY),
        ("http://api.example/v1", {"https": PROXY}, None),
        ("http://api.example/v1", {"all": PROXY}, PROXY),
        ("https://api.example/v1", {"https": "proxy.example:3128"}, PROXY),
        ("https://api.example/v1", {}, None),
    ],
)
def test_a_proxy_is_chosen_by_scheme(base_url: str, proxies: dict[str, str], expected: str | None) -> None:
    assert proxy_for(base_url, proxies) == expected


@pytest.mark.parametrize(
    ("excepted", "host", "direct"),
    [
        ("*", "api.example", True),
        ("api.example", "api.example", True),
        ("example", "api.example", True),
        (".api.example", "eu.api.example", True),
        ("*.api.example", "eu.api.example", True),
        ("pi.example", "api.example", False),
        ("other.example, API.example", "api.example", True),
        ("api.example:443", "api.example", True),
        ("api.example:8443", "api.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("127.0.0.1:443", "127.0.0.1", True),
        ("", "api.example", False),
        (" , ", "api.example", False),
    ],
)
def test_no_proxy_names_what_is_reached_directly(excepted: str, host: str, direct: bool) -> None:
    assert (proxy_for(f"https://{host}/v1", {"https": PROXY, "no": excepted}) is None) == direct
