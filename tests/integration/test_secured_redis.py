"""Redis behind TLS with a user of its own: the command of docs/operations/security.md, run as it stands."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from certificates import make_certificate
from fleet_samples import START_MS, fleet
from redis import Redis
from redis.exceptions import RedisError
from redis_servers import secured_redis
from rig import Rig, wait_until

from benchmarks.dashboards.sources import substituted
from streams import RedisConfig
from streams.redis_client import redis_client
from vigil.assembly import redis_config
from vigil.configuration import load_configuration
from vigil.dashboards.grafana import command
from vigil.dashboards.scripts import NODES
from vigil.doctor import Status, diagnose
from vigil.ports import free_run

PAGE = Path(__file__).resolve().parents[2] / "docs/operations/security.md"
ADMIN = "admin-hunter2"
PRESET = {"prefix": "vigil:"}


@dataclass(frozen=True)
class Server:
    url: str
    directory: Path

    def config(self, **changed: str) -> RedisConfig:
        """What the settings of a worker make, given as environment variables."""
        variables = {
            "VIGIL_REDIS__URL": self.url,
            "VIGIL_REDIS__USERNAME": "vigil",
            "VIGIL_REDIS__PASSWORD_FILE": str(self.directory / "redis.password"),
            "VIGIL_REDIS__SSL_CA_FILE": str(self.directory / "redis-ca.pem"),
            **changed,
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            made = redis_config(load_configuration().settings)
        assert made is not None
        return made

    def admin(self) -> Redis:
        ca = str(self.directory / "redis-ca.pem")
        return Redis.from_url(self.url, password=ADMIN, ssl_ca_certs=ca, decode_responses=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        pytest.skip("a Redis with TLS and users of its own: needs redis-server and redis-cli (Debian: redis-server)")
    directory = tmp_path_factory.mktemp("secured-redis")
    certificate = make_certificate(directory, "redis")
    (directory / "redis-ca.pem").write_bytes(certificate.file.read_bytes())
    (directory / "redis.password").write_text("vigil-hunter2\n")
    (directory / "grafana.password").write_text("grafana-hunter2\n")
    commands = re.findall(r"<!-- redis(?:-dashboards)?: begin -->\n```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(commands) == 2
    with secured_redis(directory, free_run(1), certificate, ADMIN) as url:
        environment = {**os.environ, "REDIS_ADMIN": url, "REDISCLI_AUTH": ADMIN}
        for command in commands:
            done = subprocess.run(
                ["bash", "-ec", command], cwd=directory, env=environment, capture_output=True, text=True, check=False
            )
            assert done.stdout.strip() == "OK", done.stdout + done.stderr
        yield Server(url, directory)


def test_a_worker_keeps_its_view_with_the_rights_of_its_user_alone(server: Server, rig: Rig) -> None:
    redis = replace(server.config(), flush_interval_s=0.05)
    messages = fleet(2, range(40), faults={("n1", 39): 130.0})
    rig.produce(messages)
    with rig.running(redis=redis) as thread:
        thread.wait_for_records(len(messages))
        client = server.admin()
        wait_until(lambda: client.hget("vigil:verdict:peak:n1", "ts_ms") == str(START_MS + 39_000), "the view")
    assert client.zrange("vigil:active:critical", 0, -1) == ["peak:n1"]
    assert client.exists(f"vigil:worker:{thread.worker.name}") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "vigil:expiry"),
        ("HMGET", "other:key", "field"),
        ("EVAL", "return redis.call('HSET', 'other:key', 'a', 'b')", "0"),
        ("FLUSHALL",),
        ("DEL", "vigil:expiry"),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("CLIENT", "PAUSE", "1000"),
        ("ACL", "LIST"),
    ],
)
def test_the_user_can_do_nothing_else(server: Server, command: tuple[str, ...]) -> None:
    with redis_client(server.config()) as client, pytest.raises(RedisError, match=r"permission|can't access"):
        client.execute_command(*command)


def test_grafanas_user_may_ask_all_that_dashboards_ask_and_write_nothing(server: Server, rig: Rig) -> None:
    messages = fleet(2, range(40), faults={("n1", 39): 130.0})
    rig.produce(messages)
    with rig.running(redis=replace(server.config(), flush_interval_s=0.05)) as thread:
        thread.wait_for_records(len(messages))
        admin = server.admin()
        wait_until(lambda: admin.hget("vigil:verdict:peak:n1", "ts_ms") == str(START_MS + 39_000), "the view")
        admin.close()
    ca = str(server.directory / "redis-ca.pem")
    options = {"username": "grafana", "password": "grafana-hunter2", "ssl_ca_certs": ca, "decode_responses": True}
    with Redis.from_url(server.url, **options) as client:
        [worst, *_] = client.execute_command(
            *shlex.split(substituted(command(NODES, "*", "*", "*", "peak", "5"), PRESET))
        )
        assert json.loads(worst)["node"] == "n1"
        assert client.xrange("vigil:history:peak:n1")
        for forbidden in (
            ("EVAL_RO", "return redis.call('GET', 'other:key')", "0"),
            ("EVAL", "return 1", "0"),
            ("SET", "vigil:x", "1"),
            ("GET", "other:key"),
            ("KEYS", "*"),
        ):
            with pytest.raises(RedisError, match=r"permission|can't access"):
                client.execute_command(*forbidden)


def test_nobody_gets_in_without_tls_the_right_certificate_and_the_password(server: Server, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "stranger")
    wrong = tmp_path / "wrong.password"
    wrong.write_text("correct-horse-battery")
    refused = {
        "certificate": server.config(VIGIL_REDIS__SSL_CA_FILE=str(other.file)),
        "password": server.config(VIGIL_REDIS__PASSWORD_FILE=str(wrong)),
        "closed": RedisConfig(url=server.url.replace("rediss", "redis")),
    }
    for config in refused.values():
        with redis_client(config) as client, pytest.raises(RedisError):
            client.ping()


def test_a_wrong_password_is_said_and_shown_nowhere(
    server: Server, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "wrong.password"
    secret.write_text("correct-horse-battery")
    config = server.config(VIGIL_REDIS__PASSWORD_FILE=str(secret))
    with rig.running(redis=config) as thread:
        rig.produce(fleet(1, range(31)))
        view = thread.worker.monitor.view
        assert view is not None
        wait_until(lambda: view.up is False, "the refusal to be noticed")
    for name, value in (("URL", server.url), ("USERNAME", "vigil"), ("PASSWORD_FILE", str(secret))):
        monkeypatch.setenv(f"VIGIL_REDIS__{name}", value)
    monkeypatch.setenv("VIGIL_REDIS__SSL_CA_FILE", str(server.directory / "redis-ca.pem"))
    monkeypatch.setenv("VIGIL_KAFKA__BOOTSTRAP", rig.bootstrap)
    configuration = load_configuration()
    [check] = [each for each in diagnose(configuration.settings) if each.name == "Redis"]
    said = "".join(capfd.readouterr()) + repr(check) + repr(config) + repr(configuration.rows())
    assert check.status is Status.WARNING
    assert "invalid username-password pair" in said
    assert "correct-horse-battery" not in said
