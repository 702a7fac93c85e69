"""Settings come from file, environment and flags; every mistake names the setting, its value, its origin and a fix."""

from pathlib import Path

import pytest

from vigil.configuration import Configuration, load_configuration
from vigil.errors import SettingsError


def write(text: str, name: str = "vigil.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def shown(configuration: Configuration, name: str) -> tuple[object, str]:
    return next((row.value, row.origin) for row in configuration.rows() if row.name == name)


def test_without_anything_the_defaults_hold() -> None:
    configuration = load_configuration()
    assert configuration.settings.kafka.bootstrap == "127.0.0.1:9092"
    assert list(configuration.settings.streams) == ["consensus", "node"]
    assert {row.origin for row in configuration.rows()} == {"default"}


def test_a_flag_beats_the_environment_which_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write('[kafka]\nbootstrap = "file:1"\ngroup_id = "file"\nclient_id = "file"')
    monkeypatch.setenv("VIGIL_KAFKA__BOOTSTRAP", "environment:1")
    monkeypatch.setenv("VIGIL_KAFKA__GROUP_ID", "environment")
    configuration = load_configuration(None, {"kafka.bootstrap": "flag:1"})
    assert shown(configuration, "kafka.bootstrap") == ("flag:1", "flag")
    assert shown(configuration, "kafka.group_id") == ("environment", "VIGIL_KAFKA__GROUP_ID")
    assert shown(configuration, "kafka.client_id") == ("file", "vigil.toml")


def test_the_file_may_be_named_by_flag_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[worker]\nbatch_max = 7", "named.toml")
    write("[worker]\nbatch_max = 8", "other.toml")
    monkeypatch.setenv("VIGIL_CONFIG", "other.toml")
    assert load_configuration().settings.worker.batch_max == 8
    assert load_configuration(Path("named.toml")).settings.worker.batch_max == 7


def test_any_librdkafka_property_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        '[kafka.properties]\n"security.protocol" = "SASL_SSL"\n"socket.keepalive.enable" = true\n"fetch.max.bytes" = 9'
    )
    monkeypatch.setenv("VIGIL_KAFKA__PROPERTIES__SSL_CA_LOCATION", "/ca.pem")
    configuration = load_configuration(None, {"kafka.properties.client.rack": "eu"})
    assert configuration.settings.kafka.properties == {
        "security.protocol": "SASL_SSL",
        "socket.keepalive.enable": "true",
        "fetch.max.bytes": "9",
        "ssl.ca.location": "/ca.pem",
        "client.rack": "eu",
    }
    assert shown(configuration, "kafka.properties.ssl.ca.location")[1] == "VIGIL_KAFKA__PROPERTIES__SSL_CA_LOCATION"


@pytest.mark.parametrize("text", ["autoencoder,consensus", '["autoencoder", "consensus"]'])
def test_a_variable_may_hold_a_list(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VIGIL_STREAMS__CONSENSUS__DETECTORS", text)
    assert load_configuration().settings.streams["consensus"].detectors == ("autoencoder", "consensus")


def test_a_variable_that_holds_broken_json_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_KAFKA", '{"bootstrap":')
    with pytest.raises(SettingsError, match="holds a table or list that is no JSON"):
        load_configuration()


def test_a_variable_may_hold_a_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_KAFKA", '{"bootstrap": "a:1", "properties": {"client.rack": "eu"}}')
    configuration = load_configuration()
    assert shown(configuration, "kafka.bootstrap") == ("a:1", "VIGIL_KAFKA")
    assert shown(configuration, "kafka.properties.client.rack") == ("eu", "VIGIL_KAFKA")


def test_an_unknown_setting_is_an_error_with_a_suggestion() -> None:
    path = write('[kafka]\nbootstrp = "a:1"')
    with pytest.raises(SettingsError, match=r"kafka\.bootstrp \(from vigil\.toml\) is no setting") as caught:
        load_configuration(path)
    assert caught.value.hint == "did you mean kafka.bootstrap?"


def test_an_unknown_setting_of_a_stream_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(SettingsError, match=r"streams\.consensus\.gap_step ") as caught:
        load_configuration(None, {"streams.consensus.gap_step": "3"})
    assert caught.value.hint == "did you mean streams.consensus.gap_steps?"


def test_a_misspelt_variable_is_an_error_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_KAFKA_BOOTSTRAP", "a:1")
    with pytest.raises(SettingsError, match="VIGIL_KAFKA_BOOTSTRAP is no setting") as caught:
        load_configuration()
    assert caught.value.hint == "did you mean VIGIL_KAFKA__BOOTSTRAP?"


@pytest.mark.parametrize(
    "name",
    [
        "VIGIL_METRICS_SERVICE_HOST",
        "VIGIL_METRICS_SERVICE_PORT_HTTP",
        "VIGIL_METRICS_PORT",
        "VIGIL_METRICS_PORT_9464_TCP_ADDR",
    ],
)
def test_variables_that_kubernetes_makes_of_services_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:9464")
    assert load_configuration().settings.metrics.port == 9464


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("redis.ttl_s", "-1", "greater than or equal to 1"),
        ("kafka.bootstrap", "broker", "'broker' is not host:port"),
        ("kafka.bootstrap", "broker:99999", "is not host:port"),
        ("redis.url", "http://cache", "a Redis address is redis://"),
        ("topics.anomalies", "my anomalies", "a topic's name"),
        ("topics.replication_factor", "0", "1 replica or more"),
        ("worker.batch_max", "many", "valid integer"),
        ("log.level", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("dead_letters.max_ratio", "1.5", "less than or equal to 1"),
    ],
)
def test_an_invalid_value_is_named_with_its_origin(name: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_configuration(None, {name: value})
    message = caught.value.message
    assert message.startswith(f"{name} = '{value}' (from flag): ")
    assert reason in message
    assert caught.value.exit_code == 2


def test_all_mistakes_are_named_at_once() -> None:
    write("[redis]\nttl_s = 0\n[worker]\nbatch_max = 0\nbogus = 1")
    with pytest.raises(SettingsError) as caught:
        load_configuration()
    assert all(name in caught.value.message for name in ("redis.ttl_s", "worker.batch_max", "worker.bogus"))


def test_a_file_that_is_missing_or_no_toml_says_so() -> None:
    with pytest.raises(SettingsError, match=r"--config gone\.toml: No such file"):
        load_configuration(Path("gone.toml"))
    with pytest.raises(SettingsError, match=r"bad\.toml is not TOML: .*line 1"):
        load_configuration(write("kafka = = 1", "bad.toml"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('[kafka]\nsasl_password = "hunter2"', "kafka.sasl_password"),
        ('[kafka.properties]\n"sasl.password" = "hunter2"', "kafka.properties.sasl.password"),
        ('[kafka.properties]\n"ssl.key.pem" = "hunter2"', "kafka.properties.ssl.key.pem"),
        ('[redis]\nurl = "redis://:hunter2@cache:6379/0"', "redis.url"),
        ('[redis]\npassword = "hunter2"', "redis.password"),
    ],
)
def test_a_secret_in_a_file_is_refused_and_never_repeated(text: str, name: str) -> None:
    with pytest.raises(SettingsError, match="is a secret and must not stand in") as caught:
        load_configuration(write(text))
    assert caught.value.message.startswith(name)
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "VIGIL_" in caught.value.hint


def test_secrets_of_the_environment_are_shown_as_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_KAFKA__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("VIGIL_KAFKA__PROPERTIES__SSL_KEYSTORE_PASSWORD", "hunter2")
    monkeypatch.setenv("VIGIL_REDIS__URL", "redis://vigil:hunter2@cache:6379/0")
    configuration = load_configuration()
    assert shown(configuration, "kafka.sasl_password") == ("****", "VIGIL_KAFKA__SASL_PASSWORD")
    assert shown(configuration, "redis.url")[0] == "redis://vigil:****@cache:6379/0"
    assert "hunter2" not in str(configuration.rows())


def test_a_wrong_value_of_a_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_REDIS__URL", "http://vigil:hunter2@cache")
    with pytest.raises(SettingsError) as caught:
        load_configuration()
    assert "hunter2" not in caught.value.message


def test_a_stream_of_ones_own_needs_fields_topic_and_detectors() -> None:
    with pytest.raises(SettingsError, match="stream 'postgres' is none of consensus, node"):
        load_configuration(write('[streams.postgres]\ntopic = "pg"'))
    own = 'topic = "pg"\nfields = ["tps", "lag_ms"]\ndetectors = ["consensus"]'
    settings = load_configuration(write(f"[streams.postgres]\n{own}")).settings
    assert list(settings.streams) == ["consensus", "node", "postgres"]
    assert settings.streams["postgres"].fields == ("tps", "lag_ms")


def test_a_known_stream_keeps_its_fields() -> None:
    with pytest.raises(SettingsError, match="stream 'consensus' has its own fields"):
        load_configuration(write('[streams.consensus]\nfields = ["tps"]'))


def test_a_usual_stream_can_be_switched_off() -> None:
    settings = load_configuration(None, {"streams.node.enabled": "false"}).settings
    assert [name for name, stream in settings.streams.items() if stream.enabled] == ["consensus"]


@pytest.mark.parametrize(
    "address",
    [
        "redis://:hunter2@cache:6379/0",
        "redis//vigil:hunter2@cache",
        "redis://vigil:hun#hunter2@cache",
        "redis://vigil:hunter2@cache:port",
        "rediss://cache:6380/0?password=hunter2",
        "http://:hunter2@cache",
    ],
)
def test_a_password_in_an_address_is_shown_nowhere_also_when_the_address_is_none(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    with pytest.raises(SettingsError, match="must not stand in a flag") as refused:
        load_configuration(None, {"redis.url": address})
    monkeypatch.setenv("VIGIL_REDIS__URL", address)
    try:
        said = str(load_configuration().rows())
    except SettingsError as error:
        said = error.message + error.hint + repr(error)
    assert "****" in said
    assert "hunter2" not in said + refused.value.message + refused.value.hint


@pytest.mark.parametrize("value", ["sasl.password=hunter2", '"sasl.password=hunter2"'])
def test_properties_that_are_no_table_are_not_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VIGIL_KAFKA__PROPERTIES", value)
    with pytest.raises(SettingsError, match=r"table|kafka\.properties") as caught:
        load_configuration()
    assert "hunter2" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"redis.url": "rediss://cache", "redis.ssl_ca_file": "absent.pem"}, "is no file"),
        ({"redis.ssl_ca_file": "ca.pem"}, "starts with rediss://"),
    ],
)
def test_tls_to_redis_needs_files_that_are_there_and_an_address_that_uses_them(
    settings: dict[str, str], reason: str
) -> None:
    Path("ca.pem").touch()
    with pytest.raises(SettingsError, match=reason):
        load_configuration(None, settings)


def test_metrics_and_health_are_for_this_machine_alone_unless_set() -> None:
    assert load_configuration().settings.metrics.host == "127.0.0.1"
    assert load_configuration(None, {"metrics.host": "0.0.0.0"}).settings.metrics.host == "0.0.0.0"  # noqa: S104
