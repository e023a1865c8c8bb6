"""How every process logs: one JSON object a line on standard error, ours and the libraries' alike.

Only fields that a call names are logged; no body, token or name of a customer is ever one of them.
"""

import logging
import sys
from typing import Any

import structlog

from connectors.kafka import limit_log_noise


def configure_log(level: str) -> None:
    """One JSON object a line on standard error; what libraries say in the same form."""
    number = logging.getLevelNamesMapping()[level]
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=shared,
    )
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(formatter)
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[out], force=True)
    limit_log_noise()
