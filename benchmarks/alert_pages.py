"""What Alertmanager's receiver got, and how that differs from what it gets when nothing is disturbed. Pure."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Page", "Pages", "difference"]


class Page(NamedTuple):
    """News of one alert: its fingerprint, whether it fires or is over, and as how severe it fires."""

    fingerprint: str
    status: str
    severity: str


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
        pages, known = cls(), dict[str, Page]()
        for (_, body), at in zip(posts, times, strict=True):
            pages.notifications += 1
            found = _found(json.loads(body)["alerts"])
            news = [one for one in found if known.get(one.fingerprint) != one]
            pages.twice += not news or any(one.status == "resolved" for one in set(found) - set(news))
            pages.news += [(one, at) for one in news]
            known |= {one.fingerprint: one for one in news}
        return pages

    def last(self) -> dict[str, Page]:
        """Return what was said last of each alert."""
        return {one.fingerprint: one for one, _ in self.news}


def difference(expected: Pages, found: Pages, away: tuple[float, float]) -> dict[str, Any]:
    """Compare with an undisturbed run.

    Args:
        expected: of the undisturbed run.
        found: of the other.
        away: when nobody could be told there, and when all was known again (seconds, monotonic).

    Returns:
        ``pages_expected``, ``pages``, ``pages_twice``; ``pages_extra``, that the undisturbed run does not have;
        ``pages_overtaken``, that it has and that were out of date before anybody could be told; ``pages_missing``, all
        others that it has; ``pages_end_equal``, whether the last word on each alert is the same.
    """
    wanted, got = Counter(one for one, _ in expected.news), Counter(one for one, _ in found.news)
    missing = wanted - got
    times = [at for one, at in expected.news if one in missing]
    overtaken = sum(away[0] <= at <= away[1] for at in times)
    last, should = found.last(), expected.last()
    return {
        "pages_expected": wanted.total(),
        "pages": got.total(),
        "notifications_expected": expected.notifications,
        "notifications": found.notifications,
        "pages_twice": found.twice,
        "pages_extra": (got - wanted).total(),
        "pages_overtaken": overtaken,
        "pages_missing": len(times) - overtaken,
        "pages_end_equal": all(should.get(name) == page for name, page in last.items()),
    }


def _found(alerts: Sequence[dict[str, Any]]) -> list[Page]:
    """Return the alerts of a notification; one that fires under new labels is not over because the old ones are."""
    found: dict[str, Page] = {}
    for one in sorted(alerts, key=lambda one: one["status"] == "firing"):
        name, fires = one["annotations"]["fingerprint"], one["status"] == "firing"
        found[name] = Page(name, one["status"], one["labels"]["severity"] if fires else "")
    return list(found.values())
