import numpy as np
import pytest

from detectors.thresholds import PRIOR_INDEX, PRIOR_PEAKS, ThresholdError, episode_peaks, fit_threshold


def test_exceedances_close_together_are_one_episode_with_its_highest_score() -> None:
    scores = np.ones(100)
    scores[[10, 12, 20, 60]] = [3.0, 5.0, 4.0, 2.0]

    assert episode_peaks(scores, 1.5, quiet_steps=10).tolist() == [5.0, 2.0]
    assert episode_peaks(scores, 1.5, quiet_steps=1).tolist() == [3.0, 5.0, 4.0, 2.0]
    assert len(episode_peaks(scores, 9.0, quiet_steps=10)) == 0


@pytest.mark.parametrize("asked", [1.0, 10.0])
def test_the_asked_rate_of_false_alarms_is_met_on_days_the_fit_never_saw(asked: float) -> None:
    """Pareto tails are what the fit assumes; the data it sees is a tenth of a node-day a node."""
    rng = np.random.default_rng(5)
    steps = 8640
    fitted = fit_threshold(
        [rng.pareto(5.0, steps) + 1.0 for _ in range(20)], step_ms=1000, false_alarms_per_node_day=asked
    )
    fresh = [rng.pareto(5.0, 86_400) + 1.0 for _ in range(20)]
    achieved = sum(len(episode_peaks(scores, fitted.threshold, 10)) for scores in fresh) / 20

    assert asked / 3 <= achieved <= asked * 3
    assert fitted.tail_index == pytest.approx(5.0, rel=0.25)
    assert fitted.node_days == pytest.approx(2.0)


def test_what_is_rare_in_another_way_than_the_bulk_counts_where_days_of_telemetry_show_it() -> None:
    """A light bulk, and harmless events ten times a node-day that score high: the bulk does not foretell them."""
    rng = np.random.default_rng(8)

    def telemetry(steps: int) -> np.ndarray:
        bulk = rng.pareto(9.0, steps) + 1.0
        return np.where(rng.random(steps) < 10 / 86_400, 3.0 * (rng.pareto(3.0, steps) + 1.0), bulk)

    fitted = fit_threshold([telemetry(86_400) for _ in range(20)], step_ms=1000, false_alarms_per_node_day=1.0)
    achieved = sum(len(episode_peaks(telemetry(86_400), fitted.threshold, 10)) for _ in range(40)) / 40

    assert 0.6 <= achieved <= 1.6
    assert fitted.peaks >= 100


def test_the_rate_is_what_is_to_be_expected_of_recordings_of_minutes_whose_tails_differ() -> None:
    """A quantile at the estimated index would let through 1.6 times as many."""
    rng = np.random.default_rng(4)
    achieved = []
    for index in rng.gamma(PRIOR_PEAKS, PRIOR_INDEX / PRIOR_PEAKS, 2_000):
        fitted = fit_threshold([rng.pareto(index, 1_200) + 1.0], step_ms=1000, false_alarms_per_node_day=5.0)
        achieved.append(86_400 * fitted.threshold**-index)

    assert np.mean(achieved) == pytest.approx(5.0, rel=0.2)


def test_a_higher_rate_gives_a_lower_threshold() -> None:
    scores = [np.random.default_rng(1).pareto(4.0, 20_000) + 1.0]
    thresholds = [
        fit_threshold(scores, step_ms=1000, false_alarms_per_node_day=rate).threshold for rate in (0.1, 1.0, 10.0)
    ]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > thresholds[2]


@pytest.mark.parametrize(
    ("scores", "rate", "word"),
    [
        ([], 1.0, "at least 100"),
        ([np.ones(50)], 1.0, "at least 100"),
        ([np.full(500, np.nan)], 1.0, "finite"),
        ([np.linspace(1, 2, 500)], 0.0, "greater than 0"),
        ([np.ones(500)], 1.0, "episodes"),
    ],
)
def test_scores_that_carry_no_threshold_are_refused_in_words(scores: list[np.ndarray], rate: float, word: str) -> None:
    with pytest.raises(ThresholdError, match=word):
        fit_threshold(scores, step_ms=1000, false_alarms_per_node_day=rate)


@pytest.mark.parametrize("scores", [[np.ones(50)], [np.ones(500)]], ids=["few scores", "few episodes"])
def test_a_recording_too_short_is_told_how_long_it_must_be(scores: list[np.ndarray]) -> None:
    with pytest.raises(
        ThresholdError, match=r"longer recording .* 1,000 steps of one node .* 500 each of two, 400 each"
    ):
        fit_threshold(scores, step_ms=1000, false_alarms_per_node_day=1.0)
