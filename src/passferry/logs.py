"""Logs: one line an event, JSON or for a terminal, on standard error; never a traceback's values."""

import logging
import sys
from typing import Any

import structlog

QUIET = ("httpx2", "httpcore2", "uvicorn", "asyncio", "sqlalchemy")


class _NameOnly(logging.Formatter):
    """Foreign records: logger, level, the template of the message and the kind of an exception.

    Their arguments and exception texts are left out: libraries put requests, statements and values there.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        suffix = f" ({kind})" if kind else ""
        return f"{record.levelname.lower()} {record.name}: {str(record.msg)[:200]}{suffix}"


def configure(style: str) -> None:
    """Log in ``style``: ``json``, ``console``, or ``auto`` (console on a terminal). Call once, at start."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_NameOnly())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
