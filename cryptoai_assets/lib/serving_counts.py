"""What the service counted of its answers, kept look by look, so that an hour is known across restarts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cryptoai_assets.lib.releases import write_json

COUNTS_NAME = "serving_counts.json"
WINDOW = timedelta(hours=1)
# Further apart, two looks say nothing of when things happened.
FURTHEST = timedelta(minutes=30)
_FAMILY = "cryptoai_request_seconds"
# Probes: they answer 503 on purpose, and by their number would hide what users get.
_PROBES = ("/livez", "/readyz", "/metrics")


@dataclass(frozen=True, slots=True)
class Counts:
    """Answers since a service began to count, or of a time.

    Parameters
    ----------
    answers, errors
        All, and those with a status from 500 on.
    within
        Answers within so many seconds, by the upper end as text; cumulative.
    """

    answers: float
    errors: float
    within: Mapping[str, float]

    def since(self, before: "Counts") -> "Counts":
        """What came between two looks; all of it when the service was restarted, and counts anew."""
        if self.answers < before.answers or self.errors < before.errors:
            return self
        within = {end: count - before.within.get(end, 0.0) for end, count in self.within.items()}
        return Counts(self.answers - before.answers, self.errors - before.errors, within)

    def __add__(self, other: "Counts") -> "Counts":
        ends = {**self.within, **other.within}
        within = {end: self.within.get(end, 0.0) + other.within.get(end, 0.0) for end in ends}
        return Counts(self.answers + other.answers, self.errors + other.errors, within)

    def quantile_seconds(self, share: float) -> float:
        """Upper end of the bucket that holds a quantile; infinite in the last one, 0 without an answer."""
        ends = sorted((float(end), count) for end, count in self.within.items())
        return next((end for end, count in ends if count >= share * self.answers), 0.0)

    @classmethod
    def of_exposition(cls, text: str) -> Self:
        """Read them off the service's text for Prometheus."""
        answers = errors = 0.0
        within: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name == _FAMILY else ():
                if sample.labels["route"] in _PROBES:
                    continue
                if sample.name == f"{_FAMILY}_bucket":
                    end = sample.labels["le"]
                    within[end] = within.get(end, 0.0) + sample.value
                elif sample.name == f"{_FAMILY}_count":
                    answers += sample.value
                    errors += sample.value if sample.labels["status"].startswith("5") else 0.0
        return cls(answers, errors, within)


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the counts."""

    at: datetime
    counts: Counts


def look_at_service(address: str, key: str | None, *, timeout_seconds: float) -> Counts | None:
    """Counts of the service at an address; None when it does not tell them."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{address}/metrics", headers=headers, timeout=timeout_seconds)
    except httpx.HTTPError:
        return None
    return Counts.of_exposition(answer.text) if answer.status_code == httpx.codes.OK else None


def remembered(path: Path, counts: Counts, now: datetime) -> Sequence[Look]:
    """Looks of the last hour, the newest one among them, which is kept in a file."""
    looks = [look for look in _looks(path) if now - WINDOW <= look.at < now]
    looks.append(Look(now, counts))
    write_json(path, {"looks": [{"at": look.at.isoformat(), **asdict(look.counts)} for look in looks]})
    return looks


def counted(looks: Sequence[Look]) -> Counts:
    """Answers between the looks, restarts of the service between them notwithstanding."""
    found = Counts(0.0, 0.0, {})
    for before, after in pairwise(looks):
        if after.at - before.at <= FURTHEST:
            found += after.counts.since(before.counts)
    return found


def _looks(path: Path) -> list[Look]:
    if not path.is_file():
        return []
    return [
        Look(
            datetime.fromisoformat(look["at"]), Counts(look["answers"], look["errors"], dict(look["within"]))
        )
        for look in json.loads(path.read_bytes())["looks"]
    ]
