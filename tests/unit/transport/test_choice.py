"""Which HTTP client a process uses."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from config.errors import SettingsError
from workers.transport.choice import transport_for, transport_name
from workers.transport.port import TransportRules


def install(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    """Make it look as if this version of pyreqwest were installed."""

    def version(name: str) -> str:
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize(
    ("found", "expected"), [("0.15.3", "pyreqwest"), ("0.16.0", "httpx"), (None, "httpx")]
)
def test_auto_takes_pyreqwest_where_a_known_version_is(
    monkeypatch: pytest.MonkeyPatch, found: str | None, expected: str
) -> None:
    install(monkeypatch, found)
    assert transport_name("auto") == expected
    assert transport_name("httpx") == "httpx"


@pytest.mark.parametrize("found", ["0.16.0", None])
def test_pyreqwest_that_cannot_be_had_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    install(monkeypatch, found)
    with pytest.raises(SettingsError, match=r"http\.transport.*batchwright\[fast\].*pyreqwest"):
        transport_for("http://127.0.0.1:1", TransportRules(), "pyreqwest")


def test_a_transport_says_which_one_it_is() -> None:
    for name in ("httpx", "pyreqwest"):
        assert transport_for("http://127.0.0.1:1", TransportRules(), name).stats().client == name


@pytest.mark.parametrize("words", [None, "no certificate"])
def test_a_file_without_authorities_is_refused(tmp_path: Path, words: str | None) -> None:
    ca_file = tmp_path / "ca.pem"
    if words is not None:
        ca_file.write_text(words, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"http\.ca_file"):
        transport_for("https://127.0.0.1:1", TransportRules(ca_file=ca_file), "auto")
