"""Make `Settings` from its four layers: defaults < TOML file < `.env` < environment.

Every value is checked where it enters, and what is unknown is refused with the closest right name:
a misspelt limit that is silently ignored costs money. Names of other systems (REDIS_URL, CACHE_TTL)
are understood, and a BATCHWRIGHT_ name is stronger than they are.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from config.alerts import read_alerts
from config.catalog_file import TABLES as CATALOG_TABLES
from config.catalog_file import read_catalog
from config.dotenv import read_dotenv
from config.errors import SettingsError
from config.fields import FieldSpec, sections, specs
from config.names import Named, Names
from config.prices import read_prices
from config.providers import read_providers
from config.secret import HIDDEN
from config.tree import Settings
from config.values import allowed, read_value

CONFIG_NAME = "BATCHWRIGHT_CONFIG"
DEFAULT_CONFIG_FILE = "batchwright.toml"
DEFAULT_DOTENV_FILE = ".env"
_PREFIX = "BATCHWRIGHT_"


def load_settings(
    environ: Mapping[str, str] | None = None,
    *,
    config_file: Path | None = None,
    dotenv: Path | None = None,
) -> Settings:
    """Read every layer and return the frozen tree.

    Args:
        environ: the environment; `os.environ` if None.
        config_file: the TOML file; if None, what BATCHWRIGHT_CONFIG names, else ./batchwright.toml if there.
        dotenv: the `.env` file; if None, ./.env if present.
    Raises: SettingsError for a wrong or unknown setting, or a file that cannot be read.
    """
    names = _read_names(os.environ if environ is None else environ, dotenv)
    _refuse_unknown_names(names)
    toml_path = _config_path(names, config_file)
    table = _read_toml(toml_path) if toml_path else {}
    toml_source = str(toml_path)
    _refuse_unknown_keys(table, toml_source)

    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for spec in specs():
        found = names.find(spec.env_names, with_file=spec.rule.sensitive) or _find_in_toml(
            spec, table, toml_source
        )
        if found is not None:
            values[spec.dotted] = _checked(spec, found)
            sources[spec.dotted] = f"{found.name} in {found.source}"
    _derive(values, sources)
    tree = {
        name: section(**{spec.field: values[spec.dotted] for spec in specs() if _is_set(spec, name, values)})
        for name, section in sections().items()
    }
    top = {spec.field: values[spec.dotted] for spec in specs() if _is_set(spec, "", values)}
    top["data_dir"] = Path(os.path.abspath(top.get("data_dir", Settings().data_dir)))
    simulator = tree["simulator"]
    providers = read_providers(
        table.get("providers", {}),
        toml_source,
        names,
        simulator.url,
        simulator_answers_all=simulator.all_models,
    )
    catalog = read_catalog(table, toml_source, names)
    return Settings(
        **top,
        **tree,
        catalog=catalog,
        providers=providers,
        prices=read_prices(table.get("prices", {}), toml_source),
        alerts=read_alerts(table.get("alerts", []), toml_source, _thresholds(tree)),
        files=tuple(path.absolute() for path in (toml_path, _dotenv_path(dotenv)) if path),
        sources=MappingProxyType(sources),
    )


def _thresholds(tree: Mapping[str, Any]) -> dict[str, float]:
    """Of alert rules, by name, that settings of their own give."""
    share: float = tree["monitoring"].error_rate_threshold
    return {
        "api_errors": share,
        "items_failing": share,
        "api_slow": tree["monitoring"].response_time_threshold_s,
        "disk_filling": tree["disk"].warn_percent,
    }


def _is_set(spec: FieldSpec, section: str, values: Mapping[str, Any]) -> bool:
    return spec.section == section and spec.dotted in values


def _dotenv_path(dotenv: Path | None) -> Path | None:
    default = Path(DEFAULT_DOTENV_FILE)
    return dotenv or (default if default.is_file() else None)


def _read_names(environ: Mapping[str, str], dotenv: Path | None) -> Names:
    path = _dotenv_path(dotenv)
    from_file = read_dotenv(path) if path else {}
    merged = {name: Named(name, value, str(path)) for name, value in from_file.items() if value.strip()}
    # An empty variable is an unset one: compose files pass `${NAME:-}` for what nobody set.
    merged |= {
        name: Named(name, value, "the environment") for name, value in environ.items() if value.strip()
    }
    return Names(merged)


def _refuse_unknown_names(names: Names) -> None:
    known = {CONFIG_NAME}
    for spec in specs():
        known.update(spec.env_names)
        if spec.rule.sensitive:
            known.update(f"{name}_FILE" for name in spec.env_names)
    for entry in names.all():
        if entry.name.startswith(_PREFIX) and entry.name not in known:
            ours = [name for name in known if name.startswith(_PREFIX)]
            raise SettingsError(
                entry.name, entry.source, f"a known name{_closest(entry.name, ours)}", entry.name
            )


def _config_path(names: Names, config_file: Path | None) -> Path | None:
    if config_file is not None:
        return config_file
    named = names.find((CONFIG_NAME,), with_file=False)
    if named is not None:
        path = Path(str(named.value)).expanduser()
        if not path.is_file():
            raise SettingsError(CONFIG_NAME, named.source, "the path of a TOML file that exists", str(path))
        return path
    default = Path(DEFAULT_CONFIG_FILE)
    return default if default.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError("the settings file", str(path), "a readable TOML file", str(error)) from error


def _refuse_unknown_keys(table: Mapping[str, Any], source: str) -> None:
    keys = {"": {"providers", "prices", "alerts", *CATALOG_TABLES, *sections()}} | {
        name: set() for name in sections()
    }
    for spec in specs():
        keys[spec.section] |= {spec.field, f"{spec.field}_file"} if spec.rule.sensitive else {spec.field}
    for name, value in table.items():
        if name not in keys[""]:
            raise SettingsError(name, source, f"a known setting{_closest(name, keys[''])}", name)
        if name in (*sections(), "providers", "prices") and not isinstance(value, dict):
            raise SettingsError(name, source, f"a table [{name}]", str(value))
        for key in value if name in sections() else ():
            if key not in keys[name]:
                raise SettingsError(
                    f"{name}.{key}", source, f"a known setting{_closest(key, keys[name])}", key
                )


def _closest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _find_in_toml(spec: FieldSpec, table: Mapping[str, Any], source: str) -> Named | None:
    section = table.get(spec.section, {}) if spec.section else table
    if spec.field in section:
        return Named(spec.dotted, section[spec.field], source)
    if spec.rule.sensitive and f"{spec.field}_file" in section:
        return Named(f"{spec.dotted}_file", section[f"{spec.field}_file"], source).contents()
    return None


def _checked(spec: FieldSpec, found: Named) -> Any:
    try:
        return read_value(found.value, spec.hint, spec.rule, is_size=spec.is_size)
    except ValueError as error:
        got = HIDDEN if spec.rule.sensitive else str(found.value)
        words = allowed(spec.hint, spec.rule, is_size=spec.is_size)
        # `from None`: the cause repeats the value, and this one may be a secret.
        raise SettingsError(found.name, found.source, words, got) from (
            None if spec.rule.sensitive else error
        )


def _derive(values: dict[str, Any], sources: Mapping[str, str]) -> None:
    """Settle the settings that depend on one another; only unset ones are changed."""
    if values.get("profile") == "small":
        values.setdefault("flower.enabled", False)
    lease_s = values.get("lease.lease_s", 60.0)
    margin_s = values.setdefault("lease.call_margin_s", min(10.0, lease_s / 6))
    if margin_s >= lease_s:
        source = sources["lease.call_margin_s"]
        raise SettingsError(
            "lease.call_margin_s", source, f"less than lease.lease_s ({lease_s:g})", f"{margin_s:g}"
        )
    low, high = values.get("servers.mongodb_min_pool", 10), values.get("servers.mongodb_max_pool", 50)
    if low > high:
        key = "servers.mongodb_min_pool"
        if key not in sources:
            values[key] = high
        else:
            raise SettingsError(key, sources[key], f"at most servers.mongodb_max_pool ({high})", str(low))
