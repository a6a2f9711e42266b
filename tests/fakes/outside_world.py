"""What tests of outside sources share: a clock to set, a client that never waits, broken answers."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import polars as pl
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.fact_source import Witness
from cryptoai_assets.lib.sources.patience import Patience
from cryptoai_assets.lib.sources.web import WebClient
from edge_bundle.facts import validated_facts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@dataclass(slots=True)
class DrivenMarket:
    """A market whose time is what the test sets."""

    time: datetime

    def now(self) -> datetime:
        return self.time


@dataclass(slots=True)
class CannedWeb:
    """Gives its answers one after the other, then the last one again; holds what was asked."""

    answers: list[Any]
    name: str = "Canned"
    secrets: Mapping[str, str] = field(default_factory=lambda: {"api_key": "k"})
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def json(self, path: str, params: Mapping[str, Any]) -> Any:
        self.asked.append((path, dict(params)))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def quick_web(
    name: str, base_url: str, secrets: Mapping[str, str] = MappingProxyType({}), **settings: Any
) -> WebClient:
    """A client of a loopback server, which asks twice and does not wait."""
    patience = Patience(2, first_seconds=0, longest_seconds=1, sleep=lambda _: None, jitter=lambda: 0.0)
    return WebClient(
        name,
        base_url,
        requests_per_second=1e9,
        timeout_seconds=30,
        patience=patience,
        clock=lambda: datetime.now(UTC),
        secrets=secrets,
        **settings,
    )


def historian(time: datetime) -> Witness:
    """Somebody who reads all of it as history."""
    return Witness(lambda: time, live_since=None)


def assert_honest(facts: pl.DataFrame, period: timedelta = timedelta(0)) -> None:
    """No fact is known before the end of what it describes, none has no value, the first known is first."""
    validated_facts(facts)
    assert facts.filter(pl.col("known_at") < pl.col("event_time") + period).is_empty()
    assert facts["value"].is_finite().all()
    assert facts["known_at"].is_sorted()


@st.composite
def broken(draw: st.DrawFn, valid: Any) -> Any:
    """Return a valid answer of which one part, or the whole, is anything."""
    answer = copy.deepcopy(valid)
    places = list(_places(answer))
    holder, key = draw(st.sampled_from([(None, None), *places]))
    anything = draw(JSON | st.sampled_from(["1e999", "nan", "-1", -1, 10**30, 253402300799, "9999-12-31"]))
    if holder is None:
        return anything
    if draw(st.booleans()) and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = anything
    return answer


def _places(answer: Any) -> Any:
    items = answer.items() if isinstance(answer, dict) else enumerate(answer)
    for key, value in list(items):
        yield answer, key
        if isinstance(value, dict | list):
            yield from _places(value)
