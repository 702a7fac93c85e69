"""Whom the alert service tells: a real Alertmanager, and a receiver of posts."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alert_samples import flagged
from alert_watch import sample
from confluent_kafka import Consumer, TopicPartition

from benchmarks.alert_servers import AlertmanagerServer, HookServer
from benchmarks.alert_stage import PARTITIONS, AlertReader, AlertStage
from benchmarks.waiting import wait_until
from streams.alerting.config import SinksConfig
from streams.alerting.subscription import group_of
from streams.alerting.webhook import Webhook, sign
from vigil.demo.stage import WorkerProcess

Send = Callable[..., None]
Start = Callable[..., WorkerProcess]

FAULT = [flagged(f"n{member}", second) for second in range(12) for member in range(3)]
LATER = flagged("elsewhere", 120, cluster="other", severity="info")
LATEST = flagged("elsewhere", 240, cluster="other", severity="info")


def key(post: tuple[dict[str, str], bytes]) -> str:
    return post[0]["Idempotency-Key"]


def statuses(pages: HookServer) -> list[str]:
    return [json.loads(body)["status"] for _, body in pages.posts]


def test_alertmanager_shows_an_alert_with_its_links_pages_once_and_lets_go_of_it(
    start: Start, send: Send, alertmanager: AlertmanagerServer, pages: HookServer
) -> None:
    dashboard = "https://grafana/d/node?var-cluster={cluster}&var-node={node}"
    start(alertmanagers=alertmanager.url, runbooks="https://wiki/", dashboard=dashboard, resend_s="1", expire_s="10")
    send(*FAULT)
    wait_until(alertmanager.alerts, "the alert in Alertmanager")
    [alert] = alertmanager.alerts()
    labels, notes = alert["labels"], alert["annotations"]
    assert labels | {"job": "vigil"} == labels
    assert (labels["alertname"], labels["kind"], labels["severity"]) == ("Slow", "slow", "critical")
    assert (labels["cluster"], labels["node"]) == ("etcd-a", "n0")
    assert notes["summary"].startswith("etcd-a, n0: slow, commit latency p99 88 ms, usually 7")
    assert notes["runbook_url"] == "https://wiki/docs/runbooks/slow.md"
    assert notes["dashboard_url"] == "https://grafana/d/node?var-cluster=etcd-a&var-node=n0"
    assert "Slow" in alertmanager.tool("alert", "query", "cluster=etcd-a")
    first = alert["updatedAt"]
    wait_until(lambda: alertmanager.alerts()[0]["updatedAt"] > first, "it to be told again")
    send(LATER)
    wait_until(lambda: not alertmanager.alerts(), "the end in Alertmanager")
    wait_until(lambda: len(pages.posts) == 2, "the page and its end")
    assert statuses(pages) == ["firing", "resolved"]


def test_labels_that_change_end_the_alert_under_its_old_ones(
    start: Start, send: Send, alertmanager: AlertmanagerServer
) -> None:
    start(alertmanagers=alertmanager.url)
    mild = [flagged("n0", second, severity="warning") for second in range(4)]
    send(*mild, flagged("n0", 5, severity="info"))
    wait_until(lambda: [one["labels"]["severity"] for one in alertmanager.alerts()] == ["warning"], "a warning")
    send(*(flagged("n0", second) for second in range(6, 9)), flagged("n0", 12))
    wait_until(
        lambda: [one["labels"]["severity"] for one in alertmanager.alerts()] == ["critical"], "nothing but worse"
    )


def test_an_alertmanager_that_was_away_is_told_what_is_and_nobody_is_paged_twice(
    start: Start, send: Send, alertmanager: AlertmanagerServer, pages: HookServer, reader: AlertReader
) -> None:
    service = start(alertmanagers=alertmanager.url, retry_s="0.5", resend_s="1", expire_s="10")
    send(*FAULT)
    wait_until(lambda: statuses(pages) == ["firing"], "the first page")
    alertmanager.stop()
    send(LATER, *(flagged("m0", 130 + second, cluster="etcd-b") for second in range(6)), LATEST)
    wait_until(lambda: len(reader.told) == 4, "an end, and an alert that comes and goes")
    send(*(flagged("k0", 250 + second, cluster="etcd-c") for second in range(6)))
    wait_until(lambda: len(reader.told) == 5, "an alert that stays")
    name = f"alertmanager {alertmanager.url.removeprefix('http://')}"
    wait_until(lambda: sample(service, "vigil_alerts_waiting", sink=name) == 3, "the newest state of three alerts")
    assert sample(service, "vigil_alerts_sink_up", sink=name) == 0
    alertmanager.start()
    wait_until(lambda: {one["labels"]["cluster"] for one in alertmanager.alerts()} == {"etcd-c"}, "what is open now")
    wait_until(lambda: sample(service, "vigil_alerts_waiting", sink=name) == 0, "nothing to wait")
    wait_until(lambda: len(pages.posts) == 3, "the end of the first, and one new page")
    told = sorted((json.loads(body)["groupLabels"]["cluster"], json.loads(body)["status"]) for _, body in pages.posts)
    assert told == [("etcd-a", "firing"), ("etcd-a", "resolved"), ("etcd-c", "firing")]


def test_posts_are_signed_and_each_change_is_posted_once(
    start: Start, send: Send, hook: HookServer, reader: AlertReader, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    start(webhooks=hook.url, webhook_secret_file=str(secret))
    send(*FAULT)
    wait_until(lambda: len(hook.posts) == 1, "the first post")
    send(LATER)
    wait_until(lambda: len(hook.posts) == 2, "the second")
    for (headers, body), told in zip(hook.posts, reader.told, strict=True):
        assert headers["X-Vigil-Alert-Id"] == told.alert.id
        assert headers["Idempotency-Key"] == f'"{told.alert.id}"'
        assert json.loads(body)["alert"] == json.loads(told.value)
        stamp = int(headers["X-Vigil-Timestamp"])
        assert headers["X-Vigil-Signature"] == sign(b"s3cret", stamp, body)
        assert abs(stamp - time.time()) < 60


def test_a_kill_repeats_the_post_that_was_under_way_with_the_same_key_and_no_other(
    start: Start, send: Send, hook: HookServer
) -> None:
    first = start("alerts-0", webhooks=hook.url)
    send(*(flagged("n0", second, cluster=f"etcd-{place}") for second in range(6) for place in range(3)))
    wait_until(lambda: len(hook.posts) == 3, "the posts before")
    hook.answering.clear()
    send(*(flagged("n0", 7 + second, cluster="etcd-x") for second in range(6)))
    wait_until(lambda: len(hook.posts) == 4, "the post that gets no answer")
    first.kill()
    hook.answering.set()
    start("alerts-0", webhooks=hook.url)
    wait_until(lambda: len(hook.posts) == 5, "the same post again")
    send(LATEST)
    wait_until(
        lambda: len({headers["X-Vigil-Alert-Id"] for headers, _ in hook.posts}) == 8, "four alerts and their ends"
    )
    repeated = [post for post in hook.posts if [key(one) for one in hook.posts].count(key(post)) > 1]
    assert [json.loads(body)["alert"]["cluster"] for _, body in repeated] == ["etcd-x", "etcd-x"]
    assert repeated[0][1] == repeated[1][1]


def test_a_killed_service_ends_what_alertmanager_has_under_labels_of_before(
    start: Start, send: Send, alertmanager: AlertmanagerServer
) -> None:
    first = start("alerts-0", alertmanagers=alertmanager.url)
    send(*(flagged("n0", second, severity="warning") for second in range(4)), flagged("n0", 5, severity="info"))
    wait_until(lambda: [one["labels"]["severity"] for one in alertmanager.alerts()] == ["warning"], "a warning")
    first.kill()
    start("alerts-0", alertmanagers=alertmanager.url)
    send(*(flagged("n0", second) for second in range(6, 9)), flagged("n0", 12))
    wait_until(
        lambda: [one["labels"]["severity"] for one in alertmanager.alerts()] == ["critical"], "nothing but worse"
    )


def test_a_webhook_that_was_there_hears_what_was_published_while_the_service_was_away(
    stage: AlertStage, start: Start, send: Send, hook: HookServer, reader: AlertReader
) -> None:
    first = start(webhooks=hook.url)
    wait_until(lambda: has_begun(stage, hook), "the webhook's place to be remembered")
    first.stop()
    other = start()
    send(*FAULT)
    wait_until(lambda: len(reader.told) == 1, "the alert")
    other.stop()
    assert not hook.posts
    start(webhooks=hook.url)
    wait_until(lambda: len(hook.posts) == 1, "the post")


def has_begun(stage: AlertStage, hook: HookServer) -> bool:
    group = group_of(stage.settings["alerts.group_id"], Webhook(hook.url, SinksConfig()).name)
    partitions = [TopicPartition(stage.kafka.topics["alerts"], number) for number in range(PARTITIONS)]
    consumer = Consumer({"bootstrap.servers": stage.kafka.bootstrap, "group.id": group})
    try:
        return all(each.offset >= 0 for each in consumer.committed(partitions, 10))
    finally:
        consumer.close()


def test_a_receiver_that_refuses_is_asked_again_and_a_restart_repeats_nothing(
    start: Start, send: Send, hook: HookServer, reader: AlertReader
) -> None:
    hook.status = 500
    first = start(webhooks=hook.url, retry_s="0.2")
    send(*FAULT)
    wait_until(lambda: len(reader.told) == 1, "the alert")
    wait_until(lambda: sample(first, "vigil_alerts_waiting") == 1, "it to wait")
    first.stop()
    hook.status = 200
    second = start(webhooks=hook.url, retry_s="0.2")
    wait_until(lambda: len(hook.posts) == 1, "the post that waited")
    second.stop()
    start(webhooks=hook.url, retry_s="0.2")
    send(LATER)
    wait_until(lambda: len(hook.posts) == 2, "the end")
    assert [json.loads(body)["alert"]["status"] for _, body in hook.posts] == ["firing", "resolved"]


pytestmark = pytest.mark.timeout(600)
