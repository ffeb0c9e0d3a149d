"""What a running operator logs to stderr: lines for people, or JSON, each naming the object and the handler it is about."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_PLAIN = "[%(asctime)s] %(name)-20.20s [%(levelname)-8.8s] %(about)s%(message)s"
_FIELDS = ("object", "handler", "kind", "cause", "attempt")


def log_to_stderr(form: str, level: int) -> None:
    """Send all records to stderr, as `plain` lines or as `json`."""
    to = logging.StreamHandler(sys.stderr)
    to.setFormatter(JsonLines() if form == "json" else PlainLines(_PLAIN))
    root = logging.getLogger()
    root.handlers[:] = [to]
    root.setLevel(level)
    for noisy in ("asyncio", "aiohttp", "watchfiles"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


class PlainLines(logging.Formatter):
    """`[default/web] ...` in front of what is about an object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it where there is one."""
        about = getattr(record, "object", "")
        record.about = f"[{about}] " if about else ""
        return super().format(record)


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message, and what it is about."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: str(getattr(record, name)) for name in _FIELDS if getattr(record, name, "")}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)
