"""`/metrics`, `/healthz` and `/readyz`; on localhost unless opened on purpose."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from streams.errors import StreamsConfigError

__all__ = ["HealthServer", "Probe"]

log = structlog.get_logger("vigil.http")


@dataclass(frozen=True, slots=True)
class Probe:
    """Answer of a health question.

    Attributes:
        ok: 200 when true, 503 when not.
        reasons: why not, as sentences; empty when ``ok``.
        facts: more to know, JSON values.
    """

    ok: bool
    reasons: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def body(self) -> bytes:
        """JSON: ``status``, ``reasons``, and the facts."""
        document = {"status": "ok" if self.ok else "unavailable", "reasons": list(self.reasons), **self.facts}
        return json.dumps(document).encode()


class HealthServer:
    """A small HTTP server on a thread of its own.

    Args:
        host: address to listen on.
        port: port, 0 for any free one.
        registry: metrics to show.
        healthy: answers ``/healthz``: should this process be restarted?
        ready: answers ``/readyz``: does it do its work?

    Raises:
        StreamsConfigError: the address cannot be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        healthy: Callable[[], Probe],
        ready: Callable[[], Probe],
    ) -> None:
        answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: (200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)),
            "/healthz": lambda: _json(healthy()),
            "/readyz": lambda: _json(ready()),
        }
        handler = type("Handler", (_Handler,), {"answers": answers})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise StreamsConfigError(
                f"cannot listen on {host}:{port} ({error.strerror}): set metrics.port to a free port, or 0 for any"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Begin answering."""
        self._thread.start()
        log.info("metrics and health", url="http://{}:{}".format(*self.address))

    def close(self) -> None:
        """Stop answering and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that holds its connection open must not hold up the shutdown


class _Handler(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, Callable[[], tuple[int, str, bytes]]]] = {}
    timeout = 10.0  # a silent client must not keep a thread for ever
    server_version = "vigil"
    sys_version = ""

    def do_GET(self) -> None:
        answer = self.answers.get(self.path.partition("?")[0])
        status, kind, body = answer() if answer else (404, "text/plain", b"/metrics /healthz /readyz\n")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's name
        log.debug("request", line=format % args)


def _json(probe: Probe) -> tuple[int, str, bytes]:
    return (200 if probe.ok else 503), "application/json", probe.body()
