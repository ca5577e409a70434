"""A secret from the file that a setting names; nothing here repeats what is in it."""

from __future__ import annotations

from pathlib import Path

from cdc_sync.errors import ConfigError

__all__ = ["checked_key", "secret_in"]


def secret_in(path: Path, setting: str) -> str:
    """The secret in the file that a setting names. Raises `ConfigError`."""
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{setting}: {error.strerror}: {error.filename}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{setting}: {path} is not text in UTF-8") from error
    if not secret:
        raise ConfigError(f"{setting}: {path} is empty")
    return secret


def checked_key(key: str, setting: str) -> str:
    """The key, if it can be sent: what refuses a header later would quote it."""
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{setting}: the key has a character that is not printable ASCII")
    return key
