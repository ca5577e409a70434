"""structlog, set up once: JSON lines for machines, columns for people. Facts are fields."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import FilteringBoundLogger, Processor

__all__ = ["configure_logging", "get_logger"]


def configure_logging(level: str, style: Literal["json", "console", "auto"]) -> None:
    """Log to standard error, in this style, from this severity on."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: Processor = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if not console:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries that use logging (the Typesense client logs every request) speak from warnings on.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")


def get_logger(room: str) -> FilteringBoundLogger:
    """A logger that says which room speaks."""
    logger: FilteringBoundLogger = structlog.get_logger(room=room)
    return logger
