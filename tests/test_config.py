"""Settings: from the environment, `.env` and a file, in this order; a mistake is one line with its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cdc_sync.config import Settings, load_settings
from cdc_sync.errors import ConfigError

SECRET = "s3cr3t-and-long"

# Found wrong while these tests were written; strict, so that whoever mends it takes the mark away.


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory and no settings but the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("CDC_SYNC_"):
            monkeypatch.delenv(name)


def mistake(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """The line that these variables get."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        load_settings()
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_defaults_are_those_of_the_contract() -> None:
    settings = load_settings()
    kafka = settings.kafka
    assert (
        kafka.group_id,
        kafka.client_id,
        kafka.topic_prefix,
        kafka.dlq_topic,
    ) == ("commerce-cdc-group", "commerce-cdc-consumer", "nx.seller.public", "nx.seller.cdc.dlq")
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 9464)
    assert settings.schema_registry.url is None


def test_the_environment_wins_over_dotenv_which_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cdc.yaml").write_text("kafka: {group_id: file, client_id: file, dlq_topic: file}\n")
    Path(".env").write_text("CDC_SYNC_KAFKA__GROUP_ID=dotenv\nCDC_SYNC_KAFKA__CLIENT_ID=dotenv\n")
    monkeypatch.setenv("CDC_SYNC_CONFIG_FILE", "cdc.yaml")
    monkeypatch.setenv("CDC_SYNC_KAFKA__GROUP_ID", "environment")
    kafka = load_settings().kafka
    assert (
        kafka.group_id,
        kafka.client_id,
        kafka.dlq_topic,
        kafka.topic_prefix,
    ) == ("environment", "dotenv", "file", "nx.seller.public")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cdc.yaml", "sync: {max_records: 7}\nmappers: [a.b:C]\n"),
        ("cdc.yml", "sync:\n  max_records: 7\nmappers: a.b:C\n"),
        ("cdc.toml", 'mappers = ["a.b:C"]\n[sync]\nmax_records = 7\n'),
    ],
)
def test_a_file_is_yaml_or_toml(name: str, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(name).write_text(content)
    monkeypatch.setenv("CDC_SYNC_CONFIG_FILE", name)
    settings = load_settings()
    assert (settings.sync.max_records, settings.mappers) == (7, ("a.b:C",))


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("CDC_SYNC_TYPESENSE__URL", "http://a:1/, https://b:2", ("http://a:1", "https://b:2")),
        ("CDC_SYNC_KAFKA__EXTRA", '{"security.protocol": "SASL_SSL"}', {"security.protocol": "SASL_SSL"}),
        ("CDC_SYNC_MAPPERS", "a:B, c.d:E,", ("a:B", "c.d:E")),
        ("CDC_SYNC_KAFKA__GROUP_PROTOCOL", "consumer", "consumer"),
        ("cdc_sync_http__port", "0", 0),
    ],
)
def test_values_are_read_as_their_type(
    variable: str, value: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    found: Any = load_settings()
    for part in variable.lower().removeprefix("cdc_sync_").split("__"):
        found = getattr(found, part)
    assert expected == found


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CDC_SYNC_HTTP__PORT", "many"),
        ("CDC_SYNC_HTTP__PORT", "70000"),
        ("CDC_SYNC_SYNC__MAX_RECORDS", "0"),
        ("CDC_SYNC_SYNC__COMMIT_EVERY_S", "-1"),
        ("CDC_SYNC_KAFKA__GROUP_PROTOCOL", "eager"),
        ("CDC_SYNC_LOG__LEVEL", "loud"),
        ("CDC_SYNC_DLQ__LIMIT_SHARE", "2"),
        ("CDC_SYNC_TYPESENSE__URL", "localhost:8108"),
        ("CDC_SYNC_TYPESENSE__URL", "http://a:1/path"),
        ("CDC_SYNC_TYPESENSE__URL", ","),
        ("CDC_SYNC_SCHEMA_REGISTRY__URL", "registry:8081"),
        ("CDC_SYNC_SCHEMA_REGISTRY__URL", "http://a:port"),
        ("CDC_SYNC_SCHEMA_REGISTRY__URL", "http://a:1/path?query"),
        ("CDC_SYNC_SCHEMA_REGISTRY__TIMEOUT_S", "0"),
    ],
)
def test_a_bad_value_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mistake(monkeypatch, **{variable: value}).startswith(f"{variable}: ")


@pytest.mark.parametrize(
    "variable", ["CDC_SYNC_KAFKA__BOOTSTRAP", "CDC_SYNC_NOTHING", "CDC_SYNC_TYPESENSE__API_KEYS"]
)
def test_an_unknown_variable_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = mistake(monkeypatch, **{variable: SECRET})
    assert said.startswith(f"{variable}: there is no such setting")
    assert SECRET not in said


@pytest.mark.parametrize("name", [".env", "cdc.yaml", "cdc.toml"])
def test_an_unknown_name_in_a_file_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        ".env": "CDC_SYNC_KAFKA__GRUOP_ID=x",
        "cdc.yaml": "kafka: {gruop_id: x}",
        "cdc.toml": '[kafka]\ngruop_id = "x"',
    }
    Path(name).write_text(lines[name])
    if name != ".env":
        monkeypatch.setenv("CDC_SYNC_CONFIG_FILE", name)
    assert "GRUOP_ID: there is no such setting" in mistake(monkeypatch)


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = mistake(monkeypatch, CDC_SYNC_CONFIG_FILE="nowhere.yaml")
    assert said == "CDC_SYNC_CONFIG_FILE: no such file: nowhere.yaml"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("cdc.yaml", f"typesense: {{api_key: '{SECRET}\n"),
        pytest.param("cdc.yaml", f"typesense:\n\tapi_key: {SECRET}\n"),
        ("cdc.yaml", "- a list\n"),
        ("cdc.toml", f"typesense = {{api_key = '{SECRET}\n"),
        ("cdc.yaml", f"typesense: {{api_key: [{SECRET}]}}\n"),
        ("cdc.yaml", f"typesense: {SECRET}\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_without_its_content(
    name: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(name).write_text(content)
    assert SECRET not in mistake(monkeypatch, CDC_SYNC_CONFIG_FILE=name)


@pytest.mark.parametrize("value", [pytest.param("{not json"), "[]", '"text"'])
def test_extra_properties_that_are_no_object_are_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CDC_SYNC_KAFKA__EXTRA" in mistake(monkeypatch, CDC_SYNC_KAFKA__EXTRA=value)


# The key


def test_the_key_comes_from_the_setting_or_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_SYNC_TYPESENSE__API_KEY", SECRET)
    assert load_settings().typesense_key() == SECRET
    monkeypatch.delenv("CDC_SYNC_TYPESENSE__API_KEY")
    Path("key").write_text(f"{SECRET}\n")
    monkeypatch.setenv("CDC_SYNC_TYPESENSE__API_KEY_FILE", "key")
    assert load_settings().typesense_key() == SECRET


def test_two_sources_of_the_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    said = mistake(monkeypatch, CDC_SYNC_TYPESENSE__API_KEY=SECRET, CDC_SYNC_TYPESENSE__API_KEY_FILE="key")
    assert "keep one" in said
    assert SECRET not in said


@pytest.mark.parametrize("value", [None, ""])
def test_no_key_is_said_with_both_ways_to_set_it(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv("CDC_SYNC_TYPESENSE__API_KEY", value)
    settings = load_settings()
    with pytest.raises(ConfigError, match=r"API_KEY is not set.*API_KEY_FILE"):
        settings.typesense_key()


@pytest.mark.parametrize("content", [None, *(pytest.param(content) for content in (b"", b"\n", b"\xff\xfe"))])
def test_a_key_file_without_a_key_is_named(content: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if content is not None:
        Path("key").write_bytes(content)
    monkeypatch.setenv("CDC_SYNC_TYPESENSE__API_KEY_FILE", "key")
    settings = load_settings()
    with pytest.raises(ConfigError, match="CDC_SYNC_TYPESENSE__API_KEY_FILE"):
        settings.typesense_key()


REGISTRY = "CDC_SYNC_SCHEMA_REGISTRY__"


def test_the_registry_is_asked_without_a_name_or_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the settings or a file; a path in the URL stays, a slash at its end does not."""
    monkeypatch.setenv(f"{REGISTRY}URL", "https://registry/apis/ccompat/v7/")
    assert load_settings().registry_auth() is None
    assert load_settings().schema_registry.url == "https://registry/apis/ccompat/v7"
    monkeypatch.setenv(f"{REGISTRY}USERNAME", "me")
    monkeypatch.setenv(f"{REGISTRY}PASSWORD", SECRET)
    assert load_settings().registry_auth() == ("me", SECRET)
    monkeypatch.delenv(f"{REGISTRY}PASSWORD")
    Path("password").write_text(f"{SECRET}\n")
    monkeypatch.setenv(f"{REGISTRY}PASSWORD_FILE", "password")
    settings = load_settings()
    assert settings.registry_auth() == ("me", SECRET)
    Path("password").unlink()
    with pytest.raises(ConfigError, match=f"{REGISTRY}PASSWORD_FILE"):
        settings.registry_auth()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"USERNAME": "me"}, "go together"),
        ({"PASSWORD": SECRET}, "go together"),
        ({"USERNAME": "me", "PASSWORD": SECRET, "PASSWORD_FILE": "file"}, "keep one"),
        ({"URL": f"http://me:{SECRET}@registry"}, "schema_registry.username"),
    ],
)
def test_half_of_a_login_is_refused(
    given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = mistake(monkeypatch, **{f"{REGISTRY}{name}": value for name, value in given.items()})
    assert said in text
    assert "CDC_SYNC_SCHEMA_REGISTRY" in text
    assert SECRET not in text


def test_the_key_is_in_no_text_about_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_SYNC_TYPESENSE__API_KEY", SECRET)
    settings = load_settings()
    assert SECRET not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().kafka.group_id = "other"  # type: ignore[misc]  # that is what is tried
