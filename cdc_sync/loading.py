"""Objects that settings name as `module:object`."""

from __future__ import annotations

import importlib

from cdc_sync.errors import ConfigError

__all__ = ["loaded"]


def loaded(name: str, setting: str) -> object:
    """The object that `module:object` names. Raises `ConfigError` that names the setting."""
    module, colon, attribute = name.partition(":")
    if not colon or not module or module.startswith("."):
        raise ConfigError(f"{setting}: {name!r} is not of the form module:object")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{setting}: cannot load {name}: {error}") from error
