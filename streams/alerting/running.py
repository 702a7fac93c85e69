"""Runs the alert service as a process: signals, what Faust logs, and how it ends."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Final

import structlog

from streams.alerting.service import AlertService
from streams.errors import StreamsConfigError

__all__ = ["run"]

log = structlog.get_logger("vigil.alerts")

STOP_SECONDS: Final = 20.0
TALKERS: Final = ("faust", "mode", "aiokafka")


class _Forward(logging.Handler):
    """Passes on what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(f"vigil.{record.name}").log(record.levelno, record.getMessage())


def run(make: Callable[[], AlertService]) -> int:
    """Run a service in the main thread until SIGTERM or SIGINT.

    Args:
        make: makes it, on the event loop.

    Returns:
        Exit status 0 after a clean stop. When it cannot go on, or does not stop in time, the process ends with status 1
        on the spot: nothing that was not written may be committed.

    Raises:
        StreamsConfigError: settings that cannot work.
    """
    for name in TALKERS:
        talker = logging.getLogger(name)
        talker.addHandler(_Forward(logging.WARNING))
        talker.propagate = False
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # a timer that is late on a busy machine is no news
    asyncio.run(_main(make))
    return 0


async def _main(make: Callable[[], AlertService]) -> None:
    service, loop = make(), asyncio.get_running_loop()

    def ask() -> None:
        service.stop()
        loop.call_later(STOP_SECONDS, _end, "it did not stop in time")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    try:
        await service.run()
    except StreamsConfigError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever it is, the process has to end here
        _end(f"{type(error).__name__}: {error}")
    finally:
        service.close()


def _end(reason: str) -> None:
    log.critical("the alert service cannot go on", reason=reason)
    os._exit(1)
