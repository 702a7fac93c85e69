"""What Alertmanager's receiver got, and how that differs from what it gets when nothing is disturbed. Pure."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

__all__ = ["Page", "Pages", "difference"]

_NAMES: Final = ("cluster", "alertname", "severity", "node")


class Page(NamedTuple):
    """News of one alert: its labels, when it began, and whether it fires or is over."""

    labels: tuple[str, ...]
    began: str
    status: str


@dataclass(slots=True)
class Pages:
    """What one receiver was notified of, in order.

    Attributes:
        news: each page, and when it came (seconds, monotonic).
        notifications: posts of Alertmanager.
        twice: notifications that said nothing new, and ends that were said again.
    """

    news: list[tuple[Page, float]] = field(default_factory=list)
    notifications: int = 0
    twice: int = 0

    @classmethod
    def of(cls, posts: Sequence[tuple[dict[str, str], bytes]], times: Sequence[float]) -> "Pages":
        """Read the posts of a receiver; a group's notification names its other open alerts too, which is no news."""
        pages, known = cls(), dict[tuple[tuple[str, ...], str], str]()
        for (_, body), at in zip(posts, times, strict=True):
            pages.notifications += 1
            found = [_page(alert) for alert in json.loads(body)["alerts"]]
            news = [one for one in found if known.get((one.labels, one.began)) != one.status]
            pages.twice += not news or any(one.status == "resolved" for one in set(found) - set(news))
            pages.news += [(one, at) for one in news]
            known |= {(one.labels, one.began): one.status for one in news}
        return pages

    def last(self) -> dict[tuple[tuple[str, ...], str], str]:
        """Return what was said last of each alert."""
        return {(one.labels, one.began): one.status for one, _ in self.news}


def difference(expected: Pages, found: Pages, away: tuple[float, float]) -> dict[str, Any]:
    """Compare with an undisturbed run.

    Args:
        expected: of the undisturbed run.
        found: of the other.
        away: when nobody could be told there, and when all was known again (seconds, monotonic).

    Returns:
        ``pages_expected``, ``pages``, ``pages_twice``; ``pages_extra``, that the undisturbed run does not have;
        ``pages_over_meanwhile``, of what began and ended while nobody could be told; ``pages_missing``, all others.
    """
    wanted, got = Counter(one for one, _ in expected.news), Counter(one for one, _ in found.news)
    missing = wanted - got
    times: dict[tuple[tuple[str, ...], str], list[float]] = {}
    for one, at in expected.news:
        if one in missing:
            times.setdefault((one.labels, one.began), []).append(at)
    # An alert of which both is missing, that it fired and that it ended, and both in that time.
    over = {
        name
        for name, all_of in times.items()
        if len(all_of) % 2 == 0 and away[0] <= min(all_of) <= max(all_of) <= away[1]
    }
    meanwhile = sum(count for one, count in missing.items() if (one.labels, one.began) in over)
    return {
        "pages_expected": wanted.total(),
        "pages": got.total(),
        "notifications_expected": expected.notifications,
        "notifications": found.notifications,
        "pages_twice": found.twice,
        "pages_extra": (got - wanted).total(),
        "pages_over_meanwhile": meanwhile,
        "pages_missing": missing.total() - meanwhile,
    }


def _page(alert: dict[str, Any]) -> Page:
    labels = alert["labels"]
    return Page(tuple(labels.get(name, "") for name in _NAMES), alert["startsAt"], alert["status"])
