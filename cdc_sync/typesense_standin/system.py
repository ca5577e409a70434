"""Health, status, statistics and settings (section 1)."""

import os
import shutil
from typing import Any

import msgspec

from .catalog import parse_body
from .context import Call, Context, json_response
from .http import Response

VERSION = "29.0"
_STAGES = ("import", "write", "delete", "search")


def health(context: Context, call: Call) -> Response:
    """``GET /health``: needs no key; tells of reads only."""
    return json_response({"ok": context.is_ready}, 200 if context.is_ready else 503)


def debug(context: Context, call: Call) -> Response:
    """``GET /debug``: state 1 is a leader."""
    return json_response({"state": 1, "version": VERSION})


def status(context: Context, call: Call) -> Response:
    """``GET /status``."""
    return json_response(
        {
            "committed_index": context.committed_entries,
            "queued_writes": context.lanes.pending_entries,
            "state": "LEADER" if context.is_ready else "NOT_READY",
        }
    )


def stats(context: Context, call: Call) -> Response:
    """``GET /stats.json``: ``pending_write_batches`` is true, the window counters stay 0."""
    counters: dict[str, Any] = {
        "latency_ms": {},
        "requests_per_second": {},
        "pending_write_batches": context.lanes.pending_entries,
        "total_requests_per_second": 0.0,
        "overloaded_requests_per_second": 0,
        "cache_hit_ratio": 0.0,
    }
    for stage in _STAGES:
        counters[f"{stage}_requests_per_second"] = 0
        for name in ("latency_ms", "min_latency_ms", "max_latency_ms"):
            counters[f"{stage}_{name}"] = 0
        for percentile in (70, 95, 99):
            counters[f"{stage}_{percentile}Percentile_latency_ms"] = 0
    body = msgspec.json.format(msgspec.json.encode(counters, order="sorted"), indent=4)
    return Response(200, body)


def metrics(context: Context, call: Call) -> Response:
    """``GET /metrics.json``: every value is a string."""
    page = os.sysconf("SC_PAGE_SIZE")
    memory = page * os.sysconf("SC_PHYS_PAGES")
    free = page * os.sysconf("SC_AVPHYS_PAGES")
    disk = shutil.disk_usage("/")
    resident = _resident_bytes(page)
    values: dict[str, Any] = {
        "system_cpu_active_percentage": "0.00",
        "system_memory_total_bytes": memory,
        "system_memory_used_bytes": memory - free,
        "system_memory_total_swap_bytes": 0,
        "system_memory_used_swap_bytes": 0,
        "system_disk_total_bytes": disk.total,
        "system_disk_used_bytes": disk.used,
        "system_network_received_bytes": 0,
        "system_network_sent_bytes": 0,
        "typesense_memory_fragmentation_ratio": "0.00",
    }
    for name in ("active", "allocated", "resident", "metadata", "mapped", "retained"):
        values[f"typesense_memory_{name}_bytes"] = resident
    return json_response({name: str(value) for name, value in values.items()})


def _resident_bytes(page: int) -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * page
    except OSError:
        return 0


def set_config(context: Context, call: Call) -> Response:
    """``POST /config``: ``healthy-write-lag``, ``healthy-read-lag`` and ``skip-writes`` count."""
    for name, value in parse_body(call.request.body).items():
        if isinstance(value, (int, bool)):
            context.settings[name] = value
    return json_response({"success": True}, 201)


def empty_listing(name: str) -> Any:
    """A handler that lists nothing: keys, presets, synonyms and the like are not kept here."""

    def listing(context: Context, call: Call) -> Response:
        if "collection" in call.params:
            context.store.find(call.params["collection"])
        return json_response({name: []})

    return listing
