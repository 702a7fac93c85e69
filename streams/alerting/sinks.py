"""What a sink is, and how a call over HTTP ends."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import aiohttp

from schemas.outputs import Alert
from streams.alerting.controls import Controls
from streams.errors import StreamsError

__all__ = ["Sink", "SinkAwayError", "SinkRefusedError", "call"]


class SinkAwayError(StreamsError):
    """Nobody answers, or not now: nothing is to be told before it is back."""


class SinkRefusedError(StreamsError):
    """It does not take what it was told: other alerts may be taken."""


class Sink(Protocol):
    """Whom alerts are told."""

    @property
    def name(self) -> str:
        """Kind and address, for logs, metrics and the consumer group."""
        ...

    @property
    def most(self) -> int:
        """Alerts it takes in one call."""
        ...

    @property
    def resend_s(self) -> float | None:
        """After how long it has to be told of an open alert again; ``None`` for never."""
        ...

    @property
    def wants_all(self) -> bool:
        """Whether a new one has to know what was published before it was there."""
        ...

    @property
    def takes_silenced(self) -> bool:
        """Whether it has to know of alerts that are silenced, because it tells nobody of them."""
        ...

    async def tell_controls(self, session: aiohttp.ClientSession, controls: Controls) -> None:
        """Tell it what people said, all of it. Raises as ``tell``."""
        ...

    async def tell(self, session: aiohttp.ClientSession, alerts: Sequence[Alert]) -> None:
        """Tell it the newest state of some alerts; telling the same again changes nothing.

        Raises:
            SinkAwayError: it cannot be reached now.
            SinkRefusedError: it takes none of this.
        """
        ...

    def forget(self) -> None:
        """Drop what is known of single alerts: some are another instance's now, and change there."""
        ...


async def call(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    method: str = "POST",
) -> bytes:
    """Make a call with a body of JSON and return the answer's; an error's message shows only what was answered.

    Raises:
        SinkAwayError: nobody answers, or says that it cannot now.
        SinkRefusedError: any other answer than success.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "vigil", **headers}
    try:
        async with session.request(method, url, data=body, headers=headers, allow_redirects=False) as answer:
            status, answered = answer.status, await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise SinkAwayError(f"{type(error).__name__}: {error}") from error
    if status in {408, 425, 429} or status >= 500:
        raise SinkAwayError(f"status {status}: {_start(answered)}")
    if not 200 <= status < 300:
        raise SinkRefusedError(f"status {status}: {_start(answered)}")
    return answered


def _start(answered: bytes) -> str:
    return answered[:300].decode(errors="replace")
