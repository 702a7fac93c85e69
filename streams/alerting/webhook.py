"""A webhook: each change of an alert as one signed post.

The signature is HMAC-SHA256 over ``TIMESTAMP.BODY``, in the header ``X-Vigil-Signature: sha256=HEX``; the timestamp is
in ``X-Vigil-Timestamp``, seconds. A receiver computes the same, compares in constant time, and refuses old timestamps.
A post that is repeated has the same body and the same ``Idempotency-Key``, the id of the change.
"""

import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from schemas.outputs import Alert
from streams.alerting.alertmanager import links_of
from streams.alerting.config import SinksConfig
from streams.alerting.controls import Controls
from streams.alerting.sinks import call

__all__ = ["Webhook", "sign"]


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """Return the signature's header for a body sent at a time, Unix epoch in seconds."""
    return f"sha256={hmac.new(secret, b'%d.%b' % (timestamp, body), hashlib.sha256).hexdigest()}"


class Webhook:
    """One address that changes are posted to, one a post.

    Args:
        url: where to.
        config: secret and links.
    """

    most: Final = 1
    resend_s: Final = None
    wants_all: Final = False
    takes_silenced: Final = False

    def __init__(self, url: str, config: SinksConfig) -> None:
        self._url, self._config = url, config
        # A path may be a secret: it is told apart by its digest.
        self.name = f"webhook {urlsplit(url).netloc} {hashlib.blake2b(url.encode(), digest_size=3).hexdigest()}"

    async def tell_controls(self, session: aiohttp.ClientSession, controls: Controls) -> None:
        """Do nothing: it is told of alerts alone."""

    def forget(self) -> None:
        """Do nothing: it knows nothing of single alerts."""

    async def tell(self, session: aiohttp.ClientSession, alerts: Sequence[Alert]) -> None:
        """Post each."""
        for alert in alerts:
            body = msgspec.json.encode({"v": 1, "alert": alert, "links": links_of(alert, self._config)})
            now = int(time.time())
            headers = {
                "Idempotency-Key": f'"{alert.id}"',  # a structured field's string, as the IETF's draft has it
                "X-Vigil-Alert-Id": alert.id,
                "X-Vigil-Timestamp": str(now),
            }
            if self._config.webhook_secret is not None:
                headers["X-Vigil-Signature"] = sign(self._config.webhook_secret, now, body)
            await call(session, self._url, body, headers)
