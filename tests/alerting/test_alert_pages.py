"""What the drill counts as a page, and as one that came twice."""

import json
from typing import Any

from benchmarks.alert_pages import Pages, difference

Alert = tuple[str, str, str]
FIRES, WORSE, OVER = ("a", "firing", "warning"), ("a", "firing", "critical"), ("a", "resolved", "warning")
OTHER = ("b", "firing", "warning")


def paged(*notifications: list[Alert]) -> Pages:
    """Notifications, ten seconds apart, of alerts: fingerprint, status and severity."""
    posts = []
    for alerts in notifications:
        found: list[dict[str, Any]] = [
            {"status": status, "labels": {"severity": severity}, "annotations": {"fingerprint": name}}
            for name, status, severity in alerts
        ]
        posts.append(({}, json.dumps({"alerts": found}).encode()))
    return Pages.of(posts, [10.0 * place for place in range(len(posts))])


def test_a_fire_that_gets_worse_and_ends_is_three_pages_and_none_came_twice() -> None:
    pages = paged([FIRES], [WORSE, OVER], [("a", "resolved", "critical")])
    assert [(one.status, one.severity) for one, _ in pages.news] == [
        ("firing", "warning"),
        ("firing", "critical"),
        ("resolved", ""),
    ]
    assert pages.twice == 0


def test_what_says_nothing_new_and_an_end_that_is_said_again_came_twice() -> None:
    assert paged([FIRES], [FIRES]).twice == 1
    assert paged([FIRES], [OVER], [OVER]).twice == 1
    assert paged([FIRES], [OVER], [OTHER, OVER]).twice == 1
    assert paged([FIRES], [FIRES, OTHER]).twice == 0


def test_a_page_too_few_is_missing_unless_nobody_could_be_told_before_it_was_out_of_date() -> None:
    expected, found = paged([FIRES], [WORSE, OVER], [("a", "resolved", "critical")]), paged([FIRES], [OVER])
    apart = difference(expected, found, (5.0, 15.0))
    assert (apart["pages_overtaken"], apart["pages_missing"], apart["pages_extra"]) == (1, 0, 0)
    assert apart["pages_end_equal"]
    assert difference(expected, found, (15.0, 25.0))["pages_missing"] == 1
    assert difference(found, expected, (0.0, 0.0))["pages_extra"] == 1
    assert not difference(expected, paged([FIRES]), (0.0, 99.0))["pages_end_equal"]
