"""Settings of the alert service: what is refused, and what is shown of secrets."""

import pytest

from streams.alerting.config import SinksConfig
from streams.alerting.faust_app import make_app
from streams.alerting.webhook import Webhook, sign
from streams.config import KafkaConfig
from streams.errors import StreamsConfigError
from vigil.assembly import alerting_config
from vigil.configuration import load_configuration
from vigil.errors import SettingsError


def test_an_address_with_a_password_or_without_a_scheme_is_refused() -> None:
    with pytest.raises(SettingsError, match="no user and password") as caught:
        load_configuration(None, {"alerts.webhooks": "https://kim:hunter2@hook/s3cret"})
    assert "hunter2" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError, match="an address is http"):
        load_configuration(None, {"alerts.alertmanagers": "am:9093"})


def test_alerts_that_would_end_between_two_tellings_are_refused() -> None:
    with pytest.raises(SettingsError, match="twice resend_s"):
        load_configuration(None, {"alerts.resend_s": "60", "alerts.expire_s": "100"})
    with pytest.raises(StreamsConfigError, match="twice"):
        SinksConfig(resend_s=60, expire_s=100)


def test_the_secret_of_webhooks_comes_from_its_file_or_the_environment_alone(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="is a secret"):
        load_configuration(None, {"alerts.webhook_secret": "s3cret"})
    file = tmp_path_factory.mktemp("secret") / "webhook"
    file.write_text("s3cret\n")
    settings = load_configuration(None, {"alerts.webhook_secret_file": str(file)}).settings
    config = alerting_config(settings)
    assert config.sinks.webhook_secret == b"s3cret"
    assert "s3cret" not in repr(config)
    monkeypatch.setenv("VIGIL_ALERTS__WEBHOOK_SECRET", "other")
    assert alerting_config(load_configuration().settings).sinks.webhook_secret == b"other"


def test_the_path_of_a_webhook_is_shown_nowhere() -> None:
    url = "https://hooks.example/services/T0/B0/s3cret"
    [row] = [one for one in load_configuration(None, {"alerts.webhooks": url}).rows() if one.name == "alerts.webhooks"]
    assert row.value == ["https://hooks.example/****"]
    assert "s3cret" not in Webhook(url, SinksConfig()).name


def test_two_webhooks_of_one_host_are_two_sinks() -> None:
    names = {Webhook(f"https://hooks.example/{one}", SinksConfig()).name for one in ("a", "b")}
    assert len(names) == 2


def test_the_signature_is_the_documented_one() -> None:
    body = b'{"v":1}'
    assert sign(b"key", 1_800_000_000, body) == (
        "sha256=53d910d434c5e56c285c9f311ebd88b78750a580b943a4667cbf9f04c4f6540a"
    )


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism is 'GSSAPI'"),
        ({"security.protocol": "carrier_pigeon"}, "security.protocol is 'carrier_pigeon'"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/no/such/file"}, "ssl files cannot be used"),
        ({"ssl.engine.location": "/x"}, "ssl.engine.location"),
    ],
)
def test_security_that_fausts_client_does_not_have_is_refused_by_name(properties: dict[str, str], message: str) -> None:
    with pytest.raises(StreamsConfigError, match=message):
        make_app(KafkaConfig(properties=properties), alerting_config(load_configuration().settings), 4)
