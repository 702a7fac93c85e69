"""Finds an anomaly, replays it and puts the figures together."""

import time
from pathlib import Path
from typing import Final

import msgspec

from detectors.alerts.causes import sign_of
from detectors.alerts.summaries import runbook
from schemas.outputs import Anomaly
from schemas.topics import ANOMALIES, STATE
from streams.anomaly_search import Search, find_anomaly
from streams.errors import ReplayImpossibleError, TopicUnreadableError
from streams.node_replay import ReplayPlan, is_silence, replay_node
from streams.spans import Reader, reading
from vigil.assembly import kafka_config
from vigil.errors import InputError
from vigil.explaining.figures import Explanation, ReplayFigures, SearchFigures, SilenceFigures, WindowFigures
from vigil.explaining.models import choose_model
from vigil.explaining.replays import silence_figures, window_figures
from vigil.progress import Say
from vigil.saying import now_ms
from vigil.settings import Settings

__all__ = ["explain"]

LONGEST_S: Final = 3_600.0


def explain(
    settings: Settings,
    name: str,
    *,
    artefact: Path | None,
    since_ms: int | None,
    warm_up_ms: int | None,
    say: Say,
) -> Explanation:
    """Explain one anomaly.

    Args:
        settings: those of the workers.
        name: id of the anomaly, or fingerprint of an alert, or the first digits of either.
        artefact: folder of a model to replay it through instead of the one that it names.
        since_ms: how far back to look for it, Unix epoch in milliseconds of Kafka's clock; ``None`` for all.
        warm_up_ms: how much telemetry to learn from before it, see ``ReplayPlan``.
        say: told what is being done, how far it is and of how much.

    Raises:
        InputError: there is no such anomaly, or an artefact was given for a detector that has none.
        TopicUnreadableError: the anomalies cannot be read.
        AnomalyAmbiguousError: several anomalies begin with these digits.
        ArtefactError: the artefact given cannot be used.
    """
    kafka = kafka_config(settings)
    with reading(kafka, "explain", within_s=LONGEST_S) as reader:
        search = find_anomaly(reader, kafka.topic("anomalies", ANOMALIES.name), name, since_ms=since_ms, say=say)
        if search.anomaly is None:
            raise _not_found(name, search, kafka.bootstrap)
        plan = ReplayPlan(
            group=kafka.group_id,
            state_topic=kafka.topic("state", STATE.name) if settings.state.enabled else None,
            warm_up_ms=warm_up_ms,
            max_bytes=settings.worker.max_record_bytes,
        )
        return _explained(settings, reader, search, search.anomaly, artefact, plan, say)


def _not_found(name: str, search: Search, bootstrap: str) -> InputError:
    back = "all that Kafka keeps"
    if search.since_ms is not None:
        back = f"published in the last {(now_ms() - search.since_ms) / 3_600_000:.3g} h"
    unreadable = f", {search.unreadable} of them no anomalies" if search.unreadable else ""
    return InputError(
        f"no anomaly and no alert begins with {name}: looked at {search.records:,} committed records{unreadable} of "
        f"{search.topic} at {bootstrap} ({search.partitions} partitions, {back})",
        hint="check the id; " + ("--since looks further back" if search.since_ms is not None else "older ones expired"),
    )


def _explained(
    settings: Settings,
    reader: Reader,
    search: Search,
    anomaly: Anomaly,
    artefact: Path | None,
    plan: ReplayPlan,
    say: Say,
) -> Explanation:
    began = time.monotonic()
    window: WindowFigures | None = None
    silence: SilenceFigures | None = None
    try:
        model = choose_model(settings, anomaly, artefact)
        replayed = replay_node(reader, model.scorer, anomaly, plan, say)
        if is_silence(model.scorer, anomaly):
            replay, silence = silence_figures(anomaly, model, replayed)
        else:
            replay, window = window_figures(anomaly, model, replayed)
    except (ReplayImpossibleError, TopicUnreadableError) as error:
        replay = ReplayFigures(status="impossible", reason=str(error))
    seconds = round(time.monotonic() - began, 3)
    return Explanation(
        anomaly=anomaly,
        runbook=f"{settings.alerts.runbooks}{runbook(sign_of(anomaly))}",
        search=SearchFigures(
            search.topic, search.partitions, search.records, alert=search.alert, seconds=round(search.seconds, 3)
        ),
        replay=msgspec.structs.replace(replay, seconds=seconds),
        window=window,
        silence=silence,
    )
