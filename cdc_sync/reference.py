"""The reference that is generated from code: `docs/configuration.md`, `docs/metrics.md`, `schemas/*.json`.

`python -m cdc_sync.reference` writes the files, `--check` fails where they are not what the code says.
Also what `cdc-sync config` shows: the settings in effect, without their secrets.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from cdc_sync.config import CONFIG_FILE, PREFIX, Settings, is_section
from cdc_sync.dispatcher.metrics import DISPATCHER_METRICS
from cdc_sync.mappers import MAPPERS
from cdc_sync.metrics import METRICS
from cdc_sync.metrics import PREFIX as METRIC_PREFIX

__all__ = ["ENV_EXAMPLE", "TOML_EXAMPLE", "YAML_EXAMPLE", "Effective", "effective", "files", "main"]

# Settings -----------------------------------------------------------------------------------------------


class Effective(NamedTuple):
    """A setting as it is now. `value` is JSON's, with secrets hidden."""

    variable: str
    value: Any
    is_set: bool

    @property
    def text(self) -> str:
        """The value as one would write it into the environment."""
        return as_text(self.value)


class Setting(NamedTuple):
    """Where a setting is declared: its section (None for the top level), name and field."""

    section: str | None
    name: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + "__".join(part for part in (self.section, self.name) if part).upper()


HIDDEN: Final = "********"
SECRET_NAME: Final = re.compile(r"pass(word|phrase)|secret|token|jaas|credential|oauthbearer\.config|pem\b")
URL_USER: Final = re.compile(r"(?<=://)[^/@\s]*(?=@)")


def settings_list() -> Iterator[Setting]:
    """Every setting, by section."""
    for section, field in Settings.model_fields.items():
        if is_section(field.annotation):
            for name, inner in field.annotation.model_fields.items():
                yield Setting(section, name, inner)
        else:
            yield Setting(None, section, field)


def effective(settings: Settings) -> list[Effective]:
    """Every setting's value, in the order of the reference; nothing secret is in it."""
    found = []
    for setting in settings_list():
        holder: BaseModel = getattr(settings, setting.section) if setting.section else settings
        value = without_secrets(getattr(holder, setting.name))
        found.append(Effective(setting.variable, value, setting.name in holder.model_fields_set))
    return found


def without_secrets(value: Any) -> Any:
    """The value as JSON has it; secrets, and what is named like one, are hidden."""
    match value:
        case SecretStr():
            return HIDDEN
        case Path():
            return str(value)
        case str():
            return URL_USER.sub(HIDDEN, value)
        case dict():
            return {
                name: HIDDEN if SECRET_NAME.search(str(name).lower()) else without_secrets(member)
                for name, member in value.items()
            }
        case list() | tuple():
            return [without_secrets(member) for member in value]
    return value


def as_text(value: Any) -> str:
    """A JSON value as an environment variable holds it; empty for none."""
    match value:
        case None:
            return ""
        case str():
            return value
        case list() | tuple():
            return ",".join(map(str, value))
        case dict():
            return json.dumps(value, ensure_ascii=False)
    return str(value)


# What a setting is, in words ----------------------------------------------------------------------------

TYPES: Final[Mapping[Any, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    SecretStr: "secret text",
    Path: "path",
    tuple: "list, comma-separated",
    dict: "JSON object",
}
UNITS: Final = (
    ("_ms", "ms"),
    ("_s", "s"),
    ("_kbytes", "KiB"),
    ("_bytes", "bytes"),
    ("_records", "records"),
    ("_documents", "documents"),
    ("_partitions", "partitions"),
    ("_replication_factor", "replicas"),
    ("_count", "dead letters"),
    ("_share", "share of 1"),
)
BOUNDS: Final = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def type_words(field: FieldInfo) -> str:
    """`integer ≥ 1`, `` `json` or `console` ``, …."""
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    bounds = [
        f"{sign} {limit}"
        for attribute, sign in BOUNDS
        for bound in field.metadata
        if (limit := getattr(bound, attribute, None)) is not None
    ]
    return f"{TYPES[get_origin(annotation) or annotation]} {' and '.join(bounds)}".rstrip()


def unit_of(name: str) -> str:
    """The unit that a setting's name ends in; empty where it has none."""
    return next((unit for suffix, unit in UNITS if name.endswith(suffix)), "")


def default_words(field: FieldInfo) -> str:
    """The default as one would write it."""
    text = as_text(field.get_default(call_default_factory=True, validated_data={}))
    return f"`{text}`" if text else "none"


# docs/configuration.md ----------------------------------------------------------------------------------

ENV_EXAMPLE: Final = """\
CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS=kafka-1:9092,kafka-2:9092
CDC_SYNC_KAFKA__EXTRA={"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
CDC_SYNC_TYPESENSE__URL=https://search-1:8108,https://search-2:8108,https://search-3:8108
CDC_SYNC_TYPESENSE__API_KEY_FILE=/run/secrets/typesense-key
CDC_SYNC_SYNC__MAX_RECORDS=2000
CDC_SYNC_LOG__FORMAT=json
"""

YAML_EXAMPLE: Final = """\
kafka:
  bootstrap_servers: kafka-1:9092,kafka-2:9092
  extra:
    security.protocol: SASL_SSL
    sasl.mechanism: SCRAM-SHA-512
typesense:
  url: [https://search-1:8108, https://search-2:8108, https://search-3:8108]
  api_key_file: /run/secrets/typesense-key
sync:
  max_records: 2000
log:
  format: json
"""

TOML_EXAMPLE: Final = """\
[kafka]
bootstrap_servers = "kafka-1:9092,kafka-2:9092"
extra = { "security.protocol" = "SASL_SSL", "sasl.mechanism" = "SCRAM-SHA-512" }

[typesense]
url = ["https://search-1:8108", "https://search-2:8108", "https://search-3:8108"]
api_key_file = "/run/secrets/typesense-key"

[sync]
max_records = 2000

[log]
format = "json"
"""

GENERATED: Final = (
    "<!-- Generated by `python -m cdc_sync.reference`; edit the code it is generated from. -->\n"
)

CONFIGURATION_HEAD: Final = f"""\
{GENERATED}
# Settings

Every setting is an environment variable with the prefix `{PREFIX}` and `__` between levels. The same \
names, without the prefix, may stand in a YAML or TOML file that `{CONFIG_FILE}` names (TOML where it \
ends in `.toml`). The first of these that sets a value wins: the environment, a file `.env` in the working \
directory, the file, the default. An unknown name is an error, not a silent default.

`cdc-sync config` prints the settings in effect, secrets hidden; `cdc-sync doctor` tries them.

## The same in three ways

As environment variables, or in `.env`:

```sh
{ENV_EXAMPLE}```

As YAML:

```yaml
{YAML_EXAMPLE}```

As TOML:

```toml
{TOML_EXAMPLE}```
"""


def configuration_md() -> str:
    """`docs/configuration.md`."""
    lines = [CONFIGURATION_HEAD]
    section: str | None = ""
    for setting in settings_list():
        if setting.section != section:
            section = setting.section
            annotation = Settings.model_fields[section].annotation if section else None
            title = f"`{section}`: {summary(annotation.__doc__)}" if annotation else "Top level"
            lines += [
                f"\n## {title}\n",
                "| variable | type | unit | default | meaning |",
                "|---|---|---|---|---|",
            ]
        cells = (
            f"`{setting.variable}`",
            type_words(setting.field),
            unit_of(setting.name),
            default_words(setting.field),
            setting.field.description or "",
        )
        lines.append(row(cells))
    return "\n".join(lines) + "\n"


def summary(docstring: str | None) -> str:
    """The first line of a section's docstring, as the end of a title."""
    text = (docstring or "").partition("\n")[0].rstrip(".")
    return text[:1].lower() + text[1:]


def row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# docs/metrics.md and schemas/ ---------------------------------------------------------------------------

METRICS_HEAD: Final = f"""\
{GENERATED}
# Metrics

Served at `/metrics`. Units are in the names. A `table` is the last part of a topic's name; a `lane` is one \
ordered stream of writes, named by its first collection. Those of the attached dispatcher \
(`{METRIC_PREFIX}dispatcher_…`) are there where it runs.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


def metrics_md() -> str:
    """`docs/metrics.md`."""
    rows = []
    for metric in (*METRICS, *DISPATCHER_METRICS):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        meaning = metric.help
        if metric.buckets:
            meaning += f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}."
        rows.append(row((f"`{METRIC_PREFIX}{metric.name}`", metric.kind, labels, meaning)) + "\n")
    return METRICS_HEAD + "".join(rows)


def schema_files() -> dict[str, str]:
    """Path → what `POST /collections` takes, for each collection that our mappers declare."""
    return {
        f"schemas/{mapper.collection.name}.json": json.dumps(mapper.collection.as_json(), indent=2) + "\n"
        for mapper in MAPPERS
    }


# The files ----------------------------------------------------------------------------------------------


def files() -> dict[str, str]:
    """Path → content of everything that is generated, relative to the project's folder."""
    return {
        "docs/configuration.md": configuration_md(),
        "docs/metrics.md": metrics_md(),
        **schema_files(),
    }


def differing(folder: Path) -> list[str]:
    """The generated files that are missing, not current, or no longer generated."""
    wanted = files()
    stale = [path for path, text in wanted.items() if text_of(folder / path) != text]
    left = [f"schemas/{path.name}" for path in sorted(folder.glob("schemas/*.json"))]
    return stale + [path for path in left if path not in wanted]


def text_of(path: Path) -> str | None:
    """The file's text; None when there is no such file."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` say which differ (exit code 1)."""
    parser = argparse.ArgumentParser(
        prog="python -m cdc_sync.reference", description="Generates docs/configuration.md, docs/metrics.md "
        "and schemas/*.json from the code.",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).resolve().parents[1],
        help="the project's folder (default: where this code lies)",
    )
    options = parser.parse_args(arguments)
    stale = differing(options.folder)
    if options.check:
        for path in stale:
            print(f"{path} is not what the code says: run `python -m cdc_sync.reference`", file=sys.stderr)
        return 1 if stale else 0
    wanted = files()
    for path in stale:
        target = options.folder / path
        if path not in wanted:
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(wanted[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
