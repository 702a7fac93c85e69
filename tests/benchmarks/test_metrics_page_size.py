"""The metrics page does not grow with the fleet."""

import pytest

from benchmarks.metrics_page import MOST_SECONDS, MOST_SERIES, measured


@pytest.mark.slow
def test_with_100000_nodes_the_page_is_small_a_scrape_quick_and_more_nodes_make_no_more_series() -> None:
    few, many = measured(1_000, 1), measured(100_000, 1)
    assert (few["nodes"], many["nodes"]) == (1_000, 100_000)
    assert many["windows_scored"] >= 1_000
    assert many["series"] <= MOST_SERIES
    assert many["series"] == few["series"]
    assert many["scrape_ms"]["cpu"] <= 1000 * MOST_SECONDS
