"""Settings become what the worker takes, secrets read from where they are."""

from pathlib import Path

import pytest

from detectors.catalogue import load_detectors
from schemas.streams import CONSENSUS
from vigil.assembly import enabled_streams, kafka_config, redis_config, stream_of, worker_config
from vigil.configuration import load_configuration
from vigil.errors import SettingsError
from vigil.scorers import stream_scorer
from vigil.settings import StreamSettings


def test_a_password_is_read_from_its_file() -> None:
    Path("secret").write_text("hunter2\n")
    settings = load_configuration(
        None,
        {
            "kafka.sasl_password_file": "secret",
            "kafka.sasl_username": "vigil",
            "kafka.properties.sasl.mechanism": "PLAIN",
        },
    ).settings
    config = kafka_config(settings)
    assert config.properties == {"sasl.mechanism": "PLAIN", "sasl.username": "vigil", "sasl.password": "hunter2"}
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_password_file_without_a_password_is_an_error(content: str | None) -> None:
    if content is not None:
        Path("secret").write_text(content)
    settings = load_configuration(None, {"kafka.sasl_password_file": "secret"}).settings
    with pytest.raises(SettingsError, match=r"kafka\.sasl_password_file = secret"):
        kafka_config(settings)


def test_user_and_password_of_redis_go_into_its_url_quoted() -> None:
    Path("secret").write_text("p@ss/word")
    flags = {"redis.url": "rediss://cache:6380/2", "redis.username": "vigil", "redis.password_file": "secret"}
    config = redis_config(load_configuration(None, flags).settings)
    assert config is not None
    assert config.url == "rediss://vigil:p%40ss%2Fword@cache:6380/2"
    assert config.address == "rediss://cache:6380/2"


def test_redis_can_be_switched_off() -> None:
    assert redis_config(load_configuration(None, {"redis.enabled": "false"}).settings) is None


def test_topics_can_be_renamed() -> None:
    flags = {"streams.consensus.topic": "raft", "topics.anomalies": "found", "topics.dead_letters": "lost"}
    config = kafka_config(load_configuration(None, flags).settings)
    assert config.topics == {
        "consensus": "raft",
        "incidents": "dwcp.incidents",
        "anomalies": "found",
        "dead-letters": "lost",
        "state": "vigil.state",
        "alerts": "dwcp.alerts",
        "alerts-state": "vigil.alerts.state",
        "alerts-controls": "vigil.alerts.controls",
    }


def test_the_worker_gets_what_the_settings_say() -> None:
    flags = {
        "worker.batch_max": "5",
        "metrics.enabled": "false",
        "dead_letters.action": "continue",
        "worker.linger_s": "0",
    }
    config = worker_config(load_configuration(None, flags).settings)
    assert (config.batch_max, config.http_port, config.limits.action, config.linger_s) == (5, None, "continue", 0.0)
    assert worker_config(load_configuration().settings).http_port == 9464


def test_telemetry_of_ones_own_becomes_a_stream() -> None:
    Path("vigil.toml").write_text(
        '[streams.node]\nenabled = false\n[streams.postgres]\ntopic = "pg"\nfields = ["tps", "mode"]\n'
        'detectors = ["consensus"]\nstep_ms = 5000\ncodes = {mode = ["primary", "replica"]}'
    )
    streams = enabled_streams(load_configuration().settings)
    assert list(streams) == ["consensus", "postgres"]
    postgres = streams["postgres"][0]
    assert (postgres.topic, postgres.features, postgres.step_ms) == ("pg", ("tps", "mode"), 5000)
    assert postgres.codes == {"mode": {"primary": 0, "replica": 1}}


def test_fields_that_cannot_be_used_are_a_settings_error() -> None:
    Path("vigil.toml").write_text('[streams.pg]\ntopic = "pg"\nfields = ["ts_ms"]\ndetectors = ["consensus"]')
    with pytest.raises(SettingsError, match=r"streams\.pg: .*'ts_ms'"):
        enabled_streams(load_configuration().settings)


def test_an_unknown_stream_lists_those_there_are() -> None:
    with pytest.raises(SettingsError, match="stream 'raft' is none of consensus, node, link, compression"):
        stream_of("raft")


def test_a_silence_within_a_gap_that_windows_carry_is_refused_with_the_settings_name() -> None:
    detectors = load_detectors(CONSENSUS)
    with pytest.raises(SettingsError, match=r"streams\.consensus: silence_ms is 3000: a gap that is carried"):
        stream_scorer(CONSENSUS, StreamSettings(silence_s=3), detectors)
    assert stream_scorer(CONSENSUS, StreamSettings(silence_s=3, gap_steps=2), detectors).silence is not None
    assert stream_scorer(CONSENSUS, StreamSettings(silence_s=0), detectors).silence is None
