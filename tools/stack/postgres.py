"""A PostgreSQL server that is ready for logical decoding."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tools.stack import packages
from tools.stack.errors import NotReady
from tools.stack.layout import free_port
from tools.stack.ledger import Ledger
from tools.stack.part import Command, LocalProcess

__all__ = ["SUPERUSER", "dsn", "postgres", "selects"]

SUPERUSER = "postgres"

_CONFIGURATION = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
wal_level = logical
max_replication_slots = 60
max_wal_senders = 60
max_connections = 200
max_slot_wal_keep_size = 2GB
fsync = off
timezone = 'UTC'
"""


def postgres(run: Path, ledger: Ledger) -> LocalProcess:
    """A fresh cluster on a free loopback port, not started yet; its address is `host:port`."""
    binaries = packages.postgresql()
    user = SUPERUSER if os.geteuid() == 0 else None  # initdb and postgres refuse to run as root
    folder = _data_folder(run, user)
    data = folder / "data"
    _initdb(binaries, data, user)
    port = free_port()
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write(_CONFIGURATION.format(port=port))
    address = f"127.0.0.1:{port}"
    return LocalProcess(
        "postgres",
        address,
        # SIGINT is the fast shutdown; it may wait for a walsender for ever, hence the short time-
        # out.
        Command(
            [str(binaries / "postgres"), "-D", str(data)],
            folder,
            user=user,
            stop_signal=signal.SIGINT,
            stop_timeout_s=5,
        ),
        lambda: selects(dsn(address)),
        ledger=ledger,
        log=run / "logs" / "postgres.log",
    )


def dsn(address: str, database: str = "postgres") -> str:
    """A connection string for the superuser.

    `address` is `host:port` or already a connection string.
    """
    if "=" in address or "://" in address:
        return psycopg.conninfo.make_conninfo(address, dbname=database)
    host, _, port = address.rpartition(":")
    return f"host={host} port={port} user={SUPERUSER} dbname={database}"


def selects(conninfo: str) -> None:
    """Return when the server answers a query. Raises psycopg.Error before."""
    with psycopg.connect(conninfo, connect_timeout=2) as connection:
        connection.execute("SELECT 1")


def _data_folder(run: Path, user: str | None) -> Path:
    """A folder that belongs to `user`.

    Outside the run folder where that user could not reach it.
    """
    folder = run / "postgres"
    folder.mkdir(parents=True)
    if user is None:
        return folder
    searchable = all(parent.stat().st_mode & 0o001 for parent in folder.parents)
    if not searchable:
        folder = Path(tempfile.mkdtemp(prefix="cdc-sync-postgres-"))
    account = pwd.getpwnam(user)
    os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def _initdb(binaries: Path, data: Path, user: str | None) -> None:
    done = subprocess.run(
        [
            str(binaries / "initdb"),
            "-D",
            str(data),
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ],
        cwd=data.parent,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise NotReady(f"initdb failed:\n{done.stdout}{done.stderr}")
