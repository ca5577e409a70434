"""A Redis that keeps nothing on disk."""

from __future__ import annotations

import socket
from pathlib import Path

from tools.stack import packages
from tools.stack.layout import free_port, host_and_port
from tools.stack.ledger import Ledger
from tools.stack.part import Command, LocalProcess

__all__ = ["redis"]


def redis(run: Path, ledger: Ledger) -> LocalProcess:
    """A server on a free loopback port, not started yet; its address is `host:port`."""
    folder = run / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    arguments = [packages.redis_server(), "--port", port, "--bind", "127.0.0.1", "--daemonize", "no"]
    return LocalProcess(
        "redis",
        address,
        Command([*arguments, "--save", "", "--appendonly", "no"], folder),
        lambda: answers_ping(address),
        ledger=ledger,
        log=run / "logs" / "redis.log",
        deadline_s=20.0,
    )


def answers_ping(address: str) -> None:
    """Raises while it does not answer."""
    with socket.create_connection(host_and_port(address), timeout=2.0) as connection:
        connection.sendall(b"PING\r\n")
        if not connection.recv(16).startswith(b"+PONG"):
            raise OSError("no PONG")
