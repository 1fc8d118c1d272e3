"""One certificate authority to trust instead of a hundred and fifty, in the test processes alone.

Reading all of certifi's takes an HTTP client 20 ms, and tests make hundreds of clients; no test reaches a
server whose certificate a public authority has signed.
"""

from __future__ import annotations

from collections.abc import Iterator

import certifi
import pytest

_END = "-----END CERTIFICATE-----\n"


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The first of certifi's certificates is all that new clients know, beside what a test gives them."""
    first, end, _ = certifi.contents().partition(_END)
    path = tmp_path_factory.mktemp("authorities") / "first.pem"
    path.write_text(first + end, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(path))
        yield
