"""Everything that the tour needs, started and ended in order: broker, search server, the daemon."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import redirect_stderr
from types import TracebackType
from typing import Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from cdc_sync.app import build
from cdc_sync.config import Settings
from cdc_sync.demo.broker import EmbeddedBroker
from cdc_sync.dlq.browse import LetterLine, Letters
from cdc_sync.errors import CdcSyncError
from cdc_sync.log import configure_logging
from cdc_sync.reader import TopicReader
from cdc_sync.sections import HttpSettings, KafkaSettings, SyncSettings, TypesenseSettings
from cdc_sync.typesense_standin import StandIn

__all__ = ["API_KEY", "OUTCOMES", "Stage", "Totals"]

API_KEY: Final = "demo-key"
GROUP: Final = "cdc-sync-demo"
LOG_LINES: Final = 200
LOOK_EVERY_S: Final = 0.02
END_WITHIN_S: Final = 1.2

KAFKA_EXTRA: Final = {
    # The mock answers a fetch only when this time is over; a real broker answers as soon as it has records.
    "fetch.wait.max.ms": 5,
}

OUTCOMES: Final = ("written", "coalesced", "skipped", "dead_lettered")
Totals = Counter[str]
"""`consumed`, and each outcome."""


class DemoSettings(Settings):
    """Settings of the tour's own: neither the environment nor a file has a say."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is written here."""
        return (init_settings,)


class LogTail(io.StringIO):
    """Keeps the last lines of what the daemon logs, so that they do not run through the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=LOG_LINES)

    def write(self, text: str) -> int:
        """Keep it."""
        self.lines.extend(line for line in text.splitlines() if line)
        return len(text)


class Stage:
    """A context: everything runs within it. `http_port` 0 takes a free one.

    Raises `ConfigError` when the port is taken.
    """

    def __init__(self, http_port: int = 0) -> None:
        self.log = LogTail()
        with redirect_stderr(self.log):
            configure_logging("info", "json")
        self.broker = EmbeddedBroker()
        self.standin = StandIn(api_key=API_KEY).start()
        self.settings = self._settings(http_port)
        self.broker.make_topic(self.settings.kafka.dlq_topic)
        self.daemon = build(self.settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self.daemon.run, args=(self._stop,), name="daemon", daemon=True
        )

    def __enter__(self) -> Stage:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end()
        self.standin.stop()

    def end(self) -> bool:
        """Ask the daemon to end, and wait a moment; whether it did. Asked again, it does not wait again."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(END_WITHIN_S)
        return not self._thread.is_alive()

    @property
    def is_running(self) -> bool:
        """Whether the daemon is."""
        return self._thread.is_alive()

    @property
    def http(self) -> str:
        """Where the daemon's probes and metrics are."""
        return f"http://127.0.0.1:{self.daemon.health.port}"

    def wait(self, until: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait until something is so. Raises `CdcSyncError` when it takes too long or the daemon ended."""
        deadline = time.monotonic() + timeout_s
        while not until():
            if not self.is_running:
                raise CdcSyncError("the daemon has ended by itself")
            if time.monotonic() > deadline:
                raise CdcSyncError(f"waited {timeout_s:.0f} s in vain: {what}")
            time.sleep(LOOK_EVERY_S)

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        """Wait until `/readyz` would say yes."""
        self.wait(lambda: not self.daemon.problems(), timeout_s, "the daemon joins its group")

    def wait_consumed(self, count: int, timeout_s: float = 20.0) -> None:
        """Wait until so many events are settled."""
        self.wait(lambda: self.totals()["consumed"] >= count, timeout_s, f"{count} events are settled")

    def totals(self) -> Totals:
        """The daemon's own counters over all tables."""
        totals: Totals = Counter()
        for metric in self.daemon.metrics.registry.collect():
            for sample in metric.samples:
                if sample.name == "cdc_sync_events_consumed_total":
                    totals["consumed"] += int(sample.value)
                elif sample.name == "cdc_sync_events_total":
                    totals[sample.labels["outcome"]] += int(sample.value)
        return totals

    def letters(self) -> list[LetterLine]:
        """Every dead letter so far."""
        with TopicReader({"bootstrap.servers": self.broker.address, "fetch.error.backoff.ms": 10}) as reader:
            if not reader.partitions(self.settings.kafka.dlq_topic):
                return []
            return list(Letters(reader, self.settings.kafka.dlq_topic).lines())

    def _settings(self, http_port: int) -> Settings:
        return DemoSettings(
            kafka=KafkaSettings(
                bootstrap_servers=self.broker.address,
                group_id=GROUP,
                session_timeout_ms=6_000,  # the longest that the mock allows
                extra=KAFKA_EXTRA,
            ),
            typesense=TypesenseSettings(url=(self.standin.url,), api_key=SecretStr(API_KEY)),
            sync=SyncSettings(shutdown_timeout_s=1.0),
            http=HttpSettings(host="127.0.0.1", port=http_port),
        )
