"""The settings, a section each: every one with its unit, its default and a sentence.

How they are read is in `config.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

__all__ = [
    "DebeziumSettings",
    "DlqSettings",
    "HttpSettings",
    "KafkaSettings",
    "LogSettings",
    "Names",
    "SchemaRegistrySettings",
    "Section",
    "SyncSettings",
    "TypesenseSettings",
]


class Section(BaseModel):
    """One level of settings; unknown names are refused, so that a typing error is not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def split_names(value: Any) -> Any:
    """Comma-separated text to a tuple."""
    return tuple(n.strip() for n in value.split(",") if n.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_names)]
"""A list that an environment variable has with commas."""


def check_http_url(url: str, *, user_goes_to: str, may_have_path: bool = False) -> None:
    """Raise `ValueError` for what is no root of a server; a user in it is told where it belongs."""
    parts = urlsplit(url)
    has_path = bool(parts.path) and not may_have_path
    if parts.scheme not in ("http", "https") or not parts.hostname or has_path or parts.query:
        path = ", perhaps with a path" if may_have_path else ""
        raise ValueError(f"expected http://host:port or https://host:port{path}")
    _ = (parts.port, parts.hostname.encode("idna"))  # either raises ValueError where it can be none
    if parts.username or parts.password:
        raise ValueError(f"a user in the URL is not used; what it is goes into {user_goes_to}")


class KafkaSettings(Section):
    """The broker, the consumer group and the topics."""

    bootstrap_servers: str = Field(
        "localhost:9092", description="Brokers to begin with, `host:port`, comma-separated."
    )
    group_id: str = Field("commerce-cdc-group", description="Consumer group; replicas share it.")
    client_id: str = Field(
        "commerce-cdc-consumer", description="Client id, as broker logs and quotas see it."
    )
    topic_prefix: str = Field(
        "nx.seller.public",
        description="What precedes the table in a change topic's name (Debezium's prefix and schema).",
    )
    dlq_topic: str = Field(
        "nx.seller.cdc.dlq", description="Topic for dead letters; created when it is missing."
    )
    dlq_partitions: int = Field(
        3, ge=1, description="Partitions of the dead letter topic, when we create it."
    )
    dlq_replication_factor: int = Field(
        -1,
        ge=-1,
        description="Replicas of the dead letter topic, when we create it; -1 is the broker's default.",
    )
    control_topic: str = Field(
        "nx.seller.cdc.control",
        description="Topic in which the owner of a partition is asked to replay letters, or to read again; "
        "created by the first who asks.",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic",
        description="`consumer` is KIP-848 (Kafka 4); on an older broker it falls back to `classic`.",
    )
    group_instance_id: str | None = Field(
        None, description="Static membership: a name that outlives a restart, different for every replica."
    )
    session_timeout_ms: int = Field(
        45_000,
        ge=1_000,
        description="Silence after which a member is given up (ms). One that the broker has not confirmed "
        "for half of it writes nothing. With `group_protocol=consumer` it must be the broker's.",
    )
    max_poll_interval_ms: int = Field(
        300_000, ge=10_000, description="How long a rebalance may wait for the work in flight (ms)."
    )
    queued_max_kbytes: int = Field(
        4_096, ge=1_024, description="Records that librdkafka fetches ahead, at most (KiB)."
    )
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description='Any librdkafka property as JSON, for all clients: `{"security.protocol": "SASL_SSL"}`.',
    )


class TypesenseSettings(Section):
    """The search server."""

    url: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http://localhost:8108",),
        description="`http://host:port`; several, comma-separated, for a cluster (the leader is written to).",
    )
    api_key: SecretStr | None = Field(
        None, description="Secret. A key that may import, delete, export and manage collections and aliases."
    )
    api_key_file: Path | None = Field(None, description="File that holds the key, instead of `api_key`.")
    ca_file: Path | None = Field(None, description="CA certificates for `https`, instead of the system's.")
    connect_timeout_s: float = Field(5.0, gt=0, description="To connect (s).")
    request_timeout_s: float = Field(
        120.0,
        gt=0,
        description="To wait for an answer (s). Long on purpose: after it the outcome is unknown.",
    )
    max_backoff_s: float = Field(
        30.0, gt=0, description="Longest pause between tries while Typesense is away (s)."
    )

    @field_validator("url", mode="before")
    @classmethod
    def split_urls(cls, value: Any) -> Any:
        """Comma-separated text to a tuple of URLs without a trailing slash."""
        return (
            tuple(u.strip().rstrip("/") for u in value.split(",") if u.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("url")
    @classmethod
    def check_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Every URL names a scheme and a host, and no path."""
        for url in value:
            check_http_url(url, user_goes_to="typesense.api_key")
        if not value:
            raise ValueError("expected http://host:port")
        return value


class SyncSettings(Section):
    """How much is read, held and written at once."""

    max_records: int = Field(1_000, ge=1, description="Records taken from the client at once.")
    max_waiting_bytes: int = Field(
        8_388_608,
        ge=65_536,
        description="Bytes of records that may wait for one collection before its topics are paused.",
    )
    max_waiting_documents: int = Field(
        10_000, ge=1, description="Documents that may wait for one collection before its topics are paused."
    )
    min_batch_documents: int = Field(
        100, ge=1, description="Documents that a batch may have even when Typesense is slow or refuses."
    )
    max_batch_documents: int = Field(
        10_000, ge=1, description="Documents that a batch may have however fast Typesense is."
    )
    batch_answer_s: float = Field(
        0.5, gt=0, description="How long a batch may take; where it takes longer, the next has fewer (s)."
    )
    max_queued_writes: int = Field(
        100,
        ge=0,
        description="Writes of anybody that may wait inside Typesense (its `pending_write_batches`) before "
        "batches become smaller.",
    )
    commit_every_s: float = Field(1.0, gt=0, description="Time between commits of what is settled (s).")
    shutdown_timeout_s: float = Field(
        20.0, gt=0, description="To finish what was read when asked to stop (s)."
    )
    sink: Literal["typesense", "null"] = Field(
        "typesense", description="`null` drops the documents after all the work: for benchmarks only."
    )


class DebeziumSettings(Section):
    """What the connector was told, where a message does not say it."""

    unavailable_value: str = Field(
        "__debezium_unavailable_value",
        min_length=1,
        description="The connector's `unavailable.value.placeholder`.",
    )


class SchemaRegistrySettings(Section):
    """The registry of Avro schemas."""

    url: str | None = Field(
        None,
        description="Set: keys and values in the Confluent wire format are read. Root of the interface, with "
        "its path.",
    )
    username: str | None = Field(None, description="For basic auth.")
    password: SecretStr | None = Field(None, description="Secret. For basic auth.")
    password_file: Path | None = Field(None, description="File that holds it, instead of `password`.")
    ca_file: Path | None = Field(None, description="CA certificates for `https`, instead of the system's.")
    timeout_s: float = Field(5.0, gt=0, description="To connect, and to wait for an answer (s).")

    @field_validator("url")
    @classmethod
    def check_url(cls, value: str | None) -> str | None:
        """A scheme and a host; a path may follow. Empty is unset."""
        if not value:
            return None
        check_http_url(value, user_goes_to="schema_registry.username", may_have_path=True)
        return value.rstrip("/")

    @model_validator(mode="after")
    def check_auth(self) -> SchemaRegistrySettings:
        """A name and a password from one source, or neither."""
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file are both set: keep one")
        has_password = self.password is not None or self.password_file is not None
        if has_password is not (self.username is not None):
            raise ValueError("username and password (or password_file) go together: set both or neither")
        return self


class DlqSettings(Section):
    """When dead letters are too many to be about single records."""

    limit_count: int = Field(100, ge=1, description="Dead letters within the window that may stop the line.")
    limit_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the window's records that stops it, if the count is passed too.",
    )
    limit_window_s: float = Field(60.0, gt=0, description="The window (s).")


class HttpSettings(Section):
    """`/metrics`, `/healthz`, `/readyz`, `/`."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104  # a pod is scraped from outside
    port: int = Field(9464, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    format: Literal["json", "console", "auto"] = Field(
        "auto", description="`auto`: console on a terminal, else json."
    )
