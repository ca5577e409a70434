"""How the settings (`sections.py`) are read and checked.

Environment variables with the prefix `CDC_SYNC_` and `__` between levels, an optional `.env`, and an
optional file named by `CDC_SYNC_CONFIG_FILE` (YAML or TOML); the environment wins. Read at the front door
only: the rooms get plain values. `docs/configuration.md` is generated from here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeGuard, get_origin

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
    YamlConfigSettingsSource,
)
from yaml import YAMLError

from cdc_sync.dispatcher_settings import DispatcherSettings
from cdc_sync.errors import ConfigError
from cdc_sync.secret_files import checked_key, secret_in
from cdc_sync.sections import (
    DebeziumSettings,
    DlqSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    Names,
    SchemaRegistrySettings,
    Section,
    SyncSettings,
    TypesenseSettings,
)

__all__ = ["Settings", "load_settings"]

PREFIX = "CDC_SYNC_"
CONFIG_FILE = "CDC_SYNC_CONFIG_FILE"
KEY_FILE = "CDC_SYNC_TYPESENSE__API_KEY_FILE"
PASSWORD_FILE = "CDC_SYNC_SCHEMA_REGISTRY__PASSWORD_FILE"  # noqa: S105  # the name of a setting
NOT_SETTINGS = (CONFIG_FILE, "CDC_SYNC_TEST_", "CDC_SYNC_STACK_DIR", "CDC_SYNC_SHARED")
"""Variables of ours that are no settings: where the file is, and what tests and tools read."""
NO_SUCH_SETTING = "there is no such setting; `cdc-sync config` lists all of them"


class Settings(BaseSettings):
    """All settings, by section."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_file=".env", extra="forbid", frozen=True
    )

    kafka: KafkaSettings = KafkaSettings()
    typesense: TypesenseSettings = TypesenseSettings()
    sync: SyncSettings = SyncSettings()
    debezium: DebeziumSettings = DebeziumSettings()
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    dlq: DlqSettings = DlqSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    dispatcher: DispatcherSettings = DispatcherSettings()
    mappers: Names = Field(
        (),
        description="Your own mappers, `module:object`, comma-separated; they replace ours of a table.",
    )

    @model_validator(mode="after")
    def check_key(self) -> Settings:
        """One source for the key."""
        if self.typesense.api_key is not None and self.typesense.api_key_file is not None:
            raise ValueError("typesense.api_key and typesense.api_key_file are both set: keep one")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment, then `.env`, then the file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings, dotenv_settings)
        path = os.environ.get(CONFIG_FILE)
        if path:
            source = TomlConfigSettingsSource if path.endswith(".toml") else YamlConfigSettingsSource
            sources += (source(settings_cls, Path(path)),)
        return sources

    def typesense_key(self) -> str:
        """The key, from the setting or its file. Raises `ConfigError`."""
        if self.typesense.api_key_file is not None:
            return checked_key(secret_in(self.typesense.api_key_file, KEY_FILE), KEY_FILE)
        key = self.typesense.api_key.get_secret_value().strip() if self.typesense.api_key else ""
        if not key:
            raise ConfigError(
                "CDC_SYNC_TYPESENSE__API_KEY is not set: set it, or name the file that holds the key in "
                "CDC_SYNC_TYPESENSE__API_KEY_FILE"
            )
        return checked_key(key, "CDC_SYNC_TYPESENSE__API_KEY")

    def registry_auth(self) -> tuple[str, str] | None:
        """Name and password for the schema registry, if it wants any. Raises `ConfigError`."""
        registry = self.schema_registry
        if registry.username is None:
            return None
        password = registry.password.get_secret_value() if registry.password else ""
        if registry.password_file is not None:
            password = secret_in(registry.password_file, PASSWORD_FILE)
        return registry.username, password


def load_settings() -> Settings:
    """The settings of this process. Raises `ConfigError` with one line that names the setting."""
    check_names()
    path = os.environ.get(CONFIG_FILE)
    if path and not Path(path).is_file():
        raise ConfigError(f"{CONFIG_FILE}: no such file: {path}")
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigError("; ".join(explained(dict(e)) for e in error.errors())) from None
    except (ValueError, YAMLError) as error:
        # Neither text is repeated: it may quote the file, and with it the key.
        where = f", line {line}" if (line := line_of(error)) else ""
        raise ConfigError(f"{CONFIG_FILE}: {path} is not valid YAML or TOML{where}") from None


def check_names() -> None:
    """Refuse a variable of ours that names no setting, or is no JSON where it should be.

    pydantic-settings ignores the first and does not name the second.
    """
    for name, value in sorted(os.environ.items()):
        if not name.upper().startswith(PREFIX) or name.upper().startswith(NOT_SETTINGS):
            continue
        section, _, setting = name.upper().removeprefix(PREFIX).lower().partition("__")
        field = Settings.model_fields.get(section)
        if field is not None and setting and is_section(field.annotation):
            field = field.annotation.model_fields.get(setting.partition("__")[0])
        if field is None:
            raise ConfigError(f"{name}: {NO_SUCH_SETTING}")
        if get_origin(field.annotation) is dict and "__" not in setting:
            check_json_object(name, value)


def check_json_object(name: str, value: str) -> None:
    """A setting that is written as JSON."""
    try:
        found = json.loads(value)
    except ValueError as error:
        raise ConfigError(f"{name}: expected a JSON object: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{name}: expected a JSON object")


def line_of(error: Exception) -> int | None:
    """Where a parser stopped, if it says so."""
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark is not None else getattr(error, "lineno", None)


def is_section(annotation: object) -> TypeGuard[type[Section]]:
    """Whether a setting is a level of its own."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def explained(error: dict[str, Any]) -> str:
    """One validation error as `CDC_SYNC_KAFKA__X: what is wrong`."""
    name = PREFIX + "__".join(str(part) for part in error["loc"] if not isinstance(part, int)).upper()
    if error["type"] == "extra_forbidden":
        return f"{name}: {NO_SUCH_SETTING}"
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {str(error['msg']).removeprefix('Value error, ')}"
