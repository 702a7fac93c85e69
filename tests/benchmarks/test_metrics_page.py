"""The metrics page does not grow with the fleet."""

import pytest

from benchmarks.metrics_page import MOST_SECONDS, MOST_SERIES, measured


@pytest.mark.slow
def test_with_100000_nodes_the_page_is_small_and_a_scrape_is_quick_and_ten_times_the_nodes_make_no_series() -> None:
    few, many = measured(10_000, 1), measured(100_000, 1)
    assert (few["nodes"], many["nodes"]) == (10_000, 100_000)
    assert many["windows_scored"] >= 1_000
    assert many["series"] <= MOST_SERIES
    assert many["series"] == few["series"]
    assert many["scrape_ms"]["median"] <= 1000 * MOST_SECONDS
