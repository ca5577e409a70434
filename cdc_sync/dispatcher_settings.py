"""The settings of the attached dispatcher: the section `dispatcher`. Needs none of its libraries."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from cdc_sync.sections import Names, Section

__all__ = ["DispatcherSettings"]


class DispatcherSettings(Section):
    """The attached dispatcher; it starts nothing that is not named here."""

    # What is handled
    services: Names = Field(
        (),
        description="Services whose groups are joined and channels subscribed: `finance`, `inventory`, "
        "`pricing`, `taxation`, `ledger`, `sale`; `all` for each that has a handler. Joining a group takes "
        "partitions from the service that owns it.",
    )
    handlers: dict[str, dict[str, tuple[str, ...]]] = Field(
        default_factory=dict,
        description="Service → topic or channel (`*` for all of its topics) → handlers: `relay`, "
        "`forward:URL`, `audit`, `payments`, `ledger`, or your own as `module:function`.",
    )
    start_at: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group begins that has committed nothing."
    )
    assignor: Literal["cooperative-sticky", "roundrobin", "range"] = Field(
        "cooperative-sticky",
        description="Partition assignor; beside members of another kind it has to be one that they know.",
    )
    ledger_workers: int = Field(1, ge=1, le=99, description="Members of the ledger's group in this process.")
    ledger_folder: Path | None = Field(None, description="Where ledgers are written.")

    # How
    handler_timeout_s: float = Field(
        30.0, gt=0, description="A handler that takes longer is cancelled and tried again (s)."
    )
    max_attempts: int = Field(
        5, ge=1, description="Tries of a handler that fails for an unknown reason, before the dead letter."
    )
    max_backoff_s: float = Field(60.0, gt=0, description="Longest pause between tries (s).")
    transient_errors: Names = Field(
        (),
        description="Exceptions of your handlers' libraries that pass, `module:Class`: waited for without an "
        "end, as connections and time-outs are.",
    )
    max_waiting_records: int = Field(
        5_000, ge=1, description="Events that may wait for a partition's handlers before it is paused."
    )
    max_waiting_bytes: int = Field(8_388_608, ge=65_536, description="The same in bytes.")
    drain_timeout_s: float = Field(
        10.0, gt=0, le=20, description="To finish what was begun when partitions go or the process ends (s)."
    )
    dlq_topic: str = Field(
        "nx.{service}.dlq", description="Topic for a service's dead letters; created when it is missing."
    )

    # Redis
    redis_url: SecretStr | None = Field(
        None, description="Secret. `redis://host:port/0`, `rediss://…`; without it there are no channels."
    )
    redis_url_file: Path | None = Field(None, description="File that holds it, instead.")
    claim_expire_s: float = Field(
        60.0, gt=1, description="How long the claim of a process that died keeps others waiting (s)."
    )
    claim_keep_s: float = Field(
        604_800.0, gt=0, description="How long it is remembered that an event was handled (s)."
    )
    mq_pay_feed: bool = Field(
        False,
        description="Subscribe to MQ-Pay's events that have no webhook, by their names, on Redis.",
    )

    # HTTP
    host: str = Field("0.0.0.0", description="Address for webhooks and WebSocket.")  # noqa: S104  # reached from outside
    port: int = Field(8080, ge=0, le=65_535, description="Port for them; 0 takes a free one.")
    webhooks: bool = Field(False, description="Receive webhooks from MQ-Pay.")
    webhook_path: str = Field("/webhooks/mq-pay", pattern="^/", description="Where.")
    webhook_secret: SecretStr | None = Field(
        None, description="Secret. What MQ-Pay signs with; several, comma-separated, while it is changed."
    )
    webhook_secret_file: Path | None = Field(None, description="File that holds them, instead.")
    webhook_tolerance_s: float = Field(
        300.0, gt=0, description="How old or how early a webhook's time may be (s)."
    )
    webhook_unsigned_from: Names = Field(
        (), description="Insecure. Networks (`10.1.0.0/16`) that may send without a signature."
    )
    payment_success_on: Literal["transaction.settled", "attempt.success"] = Field(
        "transaction.settled", description="MQ-Pay's event that means that an order is paid."
    )
    forward_secret: SecretStr | None = Field(None, description="Secret. What `forward` signs with.")
    forward_secret_file: Path | None = Field(None, description="File that holds it, instead.")
    forward_private: bool = Field(True, description="Whether `forward` may reach private addresses.")

    # WebSocket
    websocket: Literal["off", "edge", "emitter"] = Field(
        "off", description="`edge` serves clients; `emitter` feeds an edge that runs elsewhere, by Redis."
    )
    websocket_path: str = Field("/ws", pattern="^/", description="Where clients connect.")
    websocket_origins: Names = Field(
        (), description="Origins that browsers may come from, `https://app.example`, beside our own."
    )
    websocket_rooms: Names = Field(
        ("wr:observation/merchants/{merchantId}", "wr:observation/merchants/{merchantIds}"),
        description="Rooms that a token opens, filled in with its claims (one name or a list).",
    )
    websocket_max_connections: int = Field(10_000, ge=1, description="Connections at once.")
    websocket_max_connections_per_address: int = Field(
        100, ge=1, description="Of those, from one address; a proxy is one."
    )
    websocket_max_buffer_bytes: int = Field(
        1_048_576, ge=65_536, description="A client that leaves more unread is cut off."
    )
    token_key_file: Path | None = Field(
        None, description="File with the public key (PEM) that tokens are verified with; a secret for HS256."
    )
    token_jwks_url: str | None = Field(None, description="Where the keys are published, instead.")
    token_algorithms: Names = Field(("ES256",), min_length=1, description="Signatures that are accepted.")
    token_issuer: str | None = Field(None, description="The `iss` that tokens must have.")
    token_audience: str | None = Field(None, description="The `aud` that tokens must have.")

    @field_validator("webhook_unsigned_from")
    @classmethod
    def check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Each is a network."""
        for network in value:
            ip_network(network)
        return value

    @field_validator("token_algorithms")
    @classmethod
    def check_algorithms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Signatures of one kind: with both kinds, a public key could pass as a secret."""
        known = {"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}
        secret = {"HS256", "HS384", "HS512"}
        if not (set(value) <= known or set(value) <= secret):
            raise ValueError("expected ES256, RS256, EdDSA, …, or HS256 alone")
        return value

    @field_validator("dlq_topic")
    @classmethod
    def check_dlq_topic(cls, value: str) -> str:
        """A topic a service."""
        if "{service}" not in value:
            raise ValueError("expected a name with {service} in it: each service has its own")
        return value
