"""What a process costs, from the kernel: CPU of all its threads and children, and its peak memory."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cpu_s", "machine", "peak_rss_mb"]

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system seconds so far, of ended children too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def peak_rss_mb(pid: int) -> float:
    """The most memory that it has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def machine() -> dict[str, str]:
    """What this is measured on."""
    cpu = next(
        (
            line.partition(":")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "",
    )
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu.strip(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "kernel": os.uname().release,
        "python": ".".join(map(str, __import__("sys").version_info[:3])),
        "load_before": f"{os.getloadavg()[0]:.1f}",
    }
