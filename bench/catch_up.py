"""Catch-up of Product events through the whole daemon with a null sink, beside the bare-loop floor.

    python -m bench.catch_up [--events 400000] [--runs 5]

CPU is of whole processes (/proc), less what each needs to start; the ratio is the result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bench.kafka import fill_products, kafka
from tools.stack.layout import free_port

PREFIX = "nx.seller.public"
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_rss_mb(pid: int) -> float:
    """The most memory that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def floor(bootstrap: str, events: int) -> dict[str, float]:
    """One run of the bare loop."""
    command = [sys.executable, "-m", "bench.floor", bootstrap, f"{PREFIX}.Product", str(events)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def daemon(bootstrap: str, events: int, extra: dict[str, str] | None = None) -> dict[str, float]:
    """One run of the daemon, in a group of its own, until it has settled so many events."""
    port = free_port()
    environment = os.environ | {
        "CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "CDC_SYNC_KAFKA__GROUP_ID": f"bench-{time.time_ns()}",
        "CDC_SYNC_SYNC__SINK": "null",
        "CDC_SYNC_HTTP__HOST": "127.0.0.1",
        "CDC_SYNC_HTTP__PORT": str(port),
        "CDC_SYNC_LOG__LEVEL": "error",
        **(extra or {}),
    }
    process = subprocess.Popen([sys.executable, "-m", "cdc_sync", "run"], env=environment)
    try:
        begun_cpu, begun = 0.0, 0.0
        while True:
            time.sleep(0.05)
            if process.poll() is not None:
                raise SystemExit(f"the daemon ended with exit code {process.returncode}")
            settled = consumed(port)
            if settled is None or not begun:
                begun_cpu, begun = cpu_s(process.pid), time.monotonic()
                if settled is None or settled == 0:
                    begun = begun if settled == 0 else 0.0
                    continue
            if settled >= events:
                break
        spent = {"cpu_s": cpu_s(process.pid) - begun_cpu, "wall_s": time.monotonic() - begun}
        return {"events": settled, **spent, "peak_rss_mb": peak_rss_mb(process.pid)}
    finally:
        process.terminate()
        process.wait(40)


def consumed(port: int) -> float | None:
    """Events settled so far; None while the daemon is still starting."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    return sum(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("cdc_sync_events_consumed_total")
    )


def main() -> None:
    """Run both, in turn, and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=400_000)
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    with kafka() as bootstrap:
        fill_products(bootstrap, f"{PREFIX}.Product", chosen.events)
        rows = []
        for _ in range(chosen.runs):
            bare, ours = floor(bootstrap, chosen.events), daemon(bootstrap, chosen.events)
            rows.append(
                (
                    bare["cpu_s"] / bare["events"] * 1e6,
                    ours["cpu_s"] / ours["events"] * 1e6,
                    ours["peak_rss_mb"],
                )
            )
            print(
                f"floor {rows[-1][0]:6.2f} µs   daemon {rows[-1][1]:6.2f} µs   "
                f"ratio {rows[-1][1] / rows[-1][0]:.2f}   peak RSS {rows[-1][2]:.0f} MB",
                flush=True,
            )
    ratios = [ours / bare for bare, ours, _ in rows]
    print(
        f"median ratio {statistics.median(ratios):.2f} (spread {min(ratios):.2f}-{max(ratios):.2f}), "
        f"daemon {statistics.median(r[1] for r in rows):.2f} µs CPU an event, {chosen.events} events"
    )


if __name__ == "__main__":
    main()
