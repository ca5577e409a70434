"""A Kafka Connect worker with Debezium for PostgreSQL among its plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.stack import jars, packages
from tools.stack.layout import free_port
from tools.stack.ledger import Ledger
from tools.stack.part import Command, LocalProcess
from tools.stack.rest import request

__all__ = ["answers_rest", "connect"]

# session.timeout.ms: a worker killed by SIGKILL is a member until then, and its successor waits for
# it.
# scheduled.rebalance.max.delay.ms: by default the tasks of a lost worker stay unassigned for 5
# minutes.
_PROPERTIES = """\
bootstrap.servers={bootstrap}
group.id=connect-1
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
offset.storage.topic=connect-1-offsets
config.storage.topic=connect-1-configs
status.storage.topic=connect-1-status
offset.storage.replication.factor=1
config.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=1
status.storage.partitions=1
offset.flush.interval.ms=500
session.timeout.ms=6000
heartbeat.interval.ms=1500
scheduled.rebalance.max.delay.ms=0
listeners={url}
plugin.path={plugins}
plugin.discovery={discovery}
config.providers=env
config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
config.providers.env.param.allowlist.pattern=^SELLER_.*
"""

_JVM = (
    "-Xmx768m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.io.debezium=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
_MAIN = "org.apache.kafka.connect.cli.ConnectDistributed"


def connect(
    run: Path,
    ledger: Ledger,
    *,
    bootstrap: str,
    environment: Mapping[str, str],
    plugins: Sequence[Path] = (),
) -> LocalProcess:
    """A worker, not started yet; its address is the URL of its REST interface.

    `environment` is what connectors may read as `${env:SELLER_…}`; `plugins` are further folders
    whose `libs/` holds one plugin each.
    """
    libs = jars.jars(jars.CONNECT) / "libs"
    folder = run / "connect"
    folder.mkdir(parents=True)
    url = f"http://127.0.0.1:{free_port()}"
    properties = _PROPERTIES.format(
        bootstrap=bootstrap,
        url=url,
        plugins=",".join(str(path) for path in (jars.jars(jars.DEBEZIUM), *plugins)),
        # Debezium has service manifests, which start faster; Confluent's converters have none.
        discovery="hybrid_warn" if plugins else "service_load",
    )
    (folder / "worker.properties").write_text(properties)
    arguments = [packages.java(), *_JVM, "-cp", f"{libs}/*", _MAIN, "worker.properties"]
    return LocalProcess(
        "connect",
        url,
        Command(arguments, folder, environment, stop_timeout_s=30),
        lambda: answers_rest(url),
        ledger=ledger,
        log=run / "logs" / "connect.log",
        deadline_s=120,
    )


def answers_rest(url: str) -> None:
    """Return when the worker lists its connectors. Raises OSError or Refused before."""
    request(f"{url}/connectors", timeout_s=5)
