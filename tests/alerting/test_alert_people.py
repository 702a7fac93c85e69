"""What people say about alerts, by the command line, and who is told then."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from alert_samples import flagged
from alert_watch import sample

from benchmarks.alert_servers import AlertmanagerServer, HookServer
from benchmarks.alert_stage import AlertReader, AlertStage
from benchmarks.waiting import wait_until
from vigil.demo.stage import WorkerProcess

Send = Callable[..., None]
Start = Callable[..., WorkerProcess]
Say = Callable[..., Any]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def say(stage: AlertStage) -> Say:
    """Run `vigil alerts ... --json` and return what it prints."""

    def run(*words: str) -> Any:
        settings = [part for name, value in stage.settings.items() for part in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "vigil", "alerts", *words, "--json", *settings]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def fault(cluster: str, first: int, seconds: int = 6, **more: Any) -> list[Any]:
    return [flagged(f"{cluster}-n0", first + second, cluster=cluster, **more) for second in range(seconds)]


def names(say: Say) -> list[str]:
    return [row["alert"]["cluster"] for row in say("list")]


def test_who_has_an_alert_is_told_of_worse_alone(
    start: Start, send: Send, say: Say, hook: HookServer, reader: AlertReader
) -> None:
    start(webhooks=hook.url)
    send(*fault("etcd-a", 0, severity="warning"))
    wait_until(lambda: names(say) == ["etcd-a"], "the alert in the list")
    wait_until(lambda: len(hook.posts) == 1, "the post")
    name = reader.told[0].alert.fingerprint
    said = say("ack", name[:8], "--by", "kim", "-m", "looking")
    assert said["control"]["change"] == reader.told[0].alert.id
    wait_until(lambda: say("show", name[:8])["acknowledged"] is not None, "it to be shown")
    assert say("show", name[:8])["acknowledged"]["by"] == "kim"
    send(*fault("etcd-a", 6, 12, severity="warning", kind="network_congestion"), *fault("etcd-b", 20))
    wait_until(lambda: len(hook.posts) == 2, "the post of another cluster")
    assert [told.alert.cluster for told in reader.told] == ["etcd-a", "etcd-b"]
    send(*fault("etcd-a", 22))
    wait_until(lambda: len(hook.posts) == 3, "the post of what is worse")
    wait_until(
        lambda: [told.alert.severity for told in reader.told if told.alert.fingerprint == name][-1] == "critical",
        "the change to be published",
    )


def test_a_silence_keeps_posts_back_shows_in_alertmanager_and_says_who_and_why(
    start: Start, send: Send, say: Say, hook: HookServer, alertmanager: AlertmanagerServer, pages: HookServer
) -> None:
    service = start(webhooks=hook.url, alertmanagers=alertmanager.url)
    made = say("silence", "--cluster", "etcd-a", "--for", "1h", "--by", "kim", "-m", "new switch", "--maintenance")
    wait_until(lambda: "new switch" in alertmanager.tool("silence", "query"), "the silence in Alertmanager")
    send(*fault("etcd-a", 0), *fault("etcd-b", 0))
    wait_until(lambda: len(hook.posts) == 1, "the post of the other cluster")
    wait_until(lambda: len(alertmanager.alerts()) == 2, "both in Alertmanager")
    states = {one["labels"]["cluster"]: one["status"]["state"] for one in alertmanager.alerts()}
    wait_until(lambda: sorted(names(say)) == ["etcd-a", "etcd-b"], "both in the list")
    assert states["etcd-a"] == "suppressed"
    shown = {row["alert"]["cluster"]: row["silenced"] for row in say("list")}
    assert (shown["etcd-a"]["by"], shown["etcd-a"]["comment"]) == ("kim", "new switch")
    assert shown["etcd-b"] is None
    wait_until(lambda: len(pages.posts) == 1, "the page of the other cluster")
    assert sample(service, "vigil_alerts_deliveries_total", result="silenced") == 1
    say("unsilence", made["control"]["id"][:8])
    wait_until(lambda: len(hook.posts) == 2, "the post that was kept back")
    wait_until(lambda: len(pages.posts) == 2, "the page that was kept back")
    assert say("silences") == []


def test_feedback_moves_the_level_of_the_node_within_bounds_and_says_so(
    start: Start, send: Send, say: Say, reader: AlertReader
) -> None:
    start()
    send(*fault("etcd-a", 0, ratio=1.2))
    wait_until(lambda: names(say) == ["etcd-a"], "the alert in the list")
    said = say("feedback", reader.told[0].alert.fingerprint, "noise")
    assert (said["level_before"], said["level"]) == (1.0, 1.25)
    wait_until(lambda: say("list")[0]["level"] == 1.25, "the level to be known")
    send(*fault("etcd-a", 400, ratio=1.2), *fault("etcd-a", 800, ratio=1.3), *fault("late", 1200, severity="info"))
    wait_until(lambda: len(reader.told) == 4, "the first alert and one more, both over")
    assert [one.alert.peak_score for one in reader.told if one.alert.status == "firing"] == [1.2, 1.3]
