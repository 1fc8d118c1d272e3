"""The settings the rest of the project sees: one frozen tree and the one function that makes it.

`load_settings()` is called once, at the start of a process, and its result is handed on as a value.
Nothing below app/ and workers/runtime.py asks the environment for anything.
"""

from __future__ import annotations

from config.catalog import Catalog, ModelTraits
from config.describe import SettingDoc, describe_settings, env_example
from config.errors import SettingsError
from config.faces import Api, Flower
from config.loading import load_settings
from config.provider import Limits, Provider, ProviderKind, Timeouts
from config.secret import Secret
from config.tree import (
    Batch,
    Cache,
    Lease,
    Log,
    Retry,
    Servers,
    Settings,
    ShardRules,
    Simulator,
    Worker,
)

__all__ = [
    "Api",
    "Batch",
    "Cache",
    "Catalog",
    "Flower",
    "Lease",
    "Limits",
    "Log",
    "ModelTraits",
    "Provider",
    "ProviderKind",
    "Retry",
    "Secret",
    "Servers",
    "SettingDoc",
    "Settings",
    "SettingsError",
    "ShardRules",
    "Simulator",
    "Timeouts",
    "Worker",
    "describe_settings",
    "env_example",
    "load_settings",
]
