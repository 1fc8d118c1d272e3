"""What of newly read settings a running process can go by, and what has to wait for its next start. Pure.

    live      limits, keys, models, fallbacks and options of the providers there are; catalogue and prices; log.level
    restart   everything else: addresses, ports, sizes of pools, new providers (their queue has no consumer yet)

All or nothing stands before this: settings that cannot be read never come here. workers/reloading.py and
app/api/reloaded.py put `Reload.settings` in the place of what they had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from config.errors import SettingsError
from config.fields import specs
from config.provider import Provider
from config.secret import HIDDEN
from config.settings import Settings

LIVE_SETTINGS: Final = frozenset({"log.level"})
LIVE_OF_PROVIDER: Final = ("limits", "api_key", "api_key_env", "models", "fallback", "options")
# Their values may be secrets: that they have changed is all that is said.
_UNSHOWN = frozenset({"api_key", "headers", "options"})
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Reload:
    """What becomes of new settings in one process.

    Attributes:
        settings: what it goes by from now on: the new where that is possible, else what it had.
        changed: what is new in them, in words such as "openai: requests_per_minute 500 -> 800"; no key is in there.
        restart: what takes a restart, in the same form.
    """

    settings: Settings
    changed: tuple[str, ...]
    restart: tuple[str, ...]


def reload(old: Settings, new: Settings) -> Reload:
    """Compare what a process goes by with what it has read now.

    Raises: SettingsError where a file that was read before is not there now: whoever is about to replace it would
    have everything in it, prices and aliases too, fall back to what it is by default.
    """
    for path in old.files:
        if path not in new.files:
            raise SettingsError("the settings file", str(path), "a file that is still there", "none")
    changed: list[str] = []
    restart: list[str] = []
    for name, before, after, secret in _settings(old, new):
        told = f"{name}: {_step(before, after, hidden=secret)}"
        (changed if name in LIVE_SETTINGS else restart).append(told)
    providers, more, later = _providers(old, new)
    if old.alerts != new.alerts:
        by_name = [{rule.name: rule for rule in each.alerts} for each in (old, new)]
        later.append(f"alerts: {_names(*by_name)}")
    changed += [*more, *_catalog(old, new), *_prices(old, new)]
    settings = replace(
        old,
        log=replace(old.log, level=new.log.level),
        providers=providers,
        catalog=new.catalog,
        prices=new.prices,
        files=new.files,
        sources=new.sources,
    )
    return Reload(settings, tuple(changed), (*restart, *later))


def _settings(old: Settings, new: Settings) -> Iterator[tuple[str, Any, Any, bool]]:
    for spec in specs():
        before, after = _value(old, spec.section, spec.field), _value(new, spec.section, spec.field)
        if before != after:
            yield spec.dotted, before, after, spec.rule.sensitive


def _value(settings: Settings, section: str, name: str) -> Any:
    return getattr(getattr(settings, section) if section else settings, name)


def _providers(old: Settings, new: Settings) -> tuple[tuple[Provider, ...], list[str], list[str]]:
    known = {provider.name: provider for provider in old.providers}
    wanted = {provider.name: provider for provider in new.providers}
    changed: list[str] = []
    restart = [f"{name}: a new provider" for name in wanted if name not in known]
    restart += [f"{name}: no longer configured" for name in known if name not in wanted]
    if [name for name in wanted if name in known] != [name for name in known if name in wanted]:
        restart.append("the order of the providers")
    kept = []
    for name, before in known.items():
        after = wanted.get(name, before)
        changed += [f"{name}: {words}" for words in _limits(before, after)]
        for each in fields(Provider):
            was, now = getattr(before, each.name), getattr(after, each.name)
            if each.name == "limits" or was == now:
                continue
            told = f"{name}: {each.name} {_step(was, now, hidden=each.name in _UNSHOWN)}"
            (changed if each.name in LIVE_OF_PROVIDER else restart).append(told)
        kept.append(replace(before, **{each: getattr(after, each) for each in LIVE_OF_PROVIDER}))
    return tuple(kept), changed, restart


def _limits(old: Provider, new: Provider) -> Iterator[str]:
    for each in fields(old.limits):
        before, after = getattr(old.limits, each.name), getattr(new.limits, each.name)
        if before != after:
            yield f"{each.name} {_step(before, after)}"


def _catalog(old: Settings, new: Settings) -> Iterator[str]:
    for each in fields(old.catalog):
        before, after = getattr(old.catalog, each.name), getattr(new.catalog, each.name)
        if not each.compare or before == after:
            continue
        if isinstance(before, Mapping):
            yield f"{each.name}: {_names(before, after)}"
        else:
            yield f"{each.name}: changed"


def _prices(old: Settings, new: Settings) -> Iterator[str]:
    before = {price.name: price for price in old.prices}
    after = {price.name: price for price in new.prices}
    if before != after:
        yield f"prices: {_names(before, after)}"
    elif old.prices != new.prices:
        yield "prices: another order"


def _names(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    said = [f"+{name}" for name in after if name not in before]
    said += [f"-{name}" for name in before if name not in after]
    said += [name for name in after if name in before and before[name] != after[name]]
    return _cut(", ".join(said) or "another order")


def _step(before: Any, after: Any, *, hidden: bool = False) -> str:
    if hidden:
        before, after = (None if value in (None, {}) else HIDDEN for value in (before, after))
        return "changed" if before == after else f"{_shown(before)} -> {_shown(after)}"
    return f"{_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return _cut(", ".join(map(str, value)) or "none")
    return _cut(f"{value:g}" if isinstance(value, float) else str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
