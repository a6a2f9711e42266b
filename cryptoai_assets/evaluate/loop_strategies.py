"""When a model is trained again: never, every day, or when the platform's loop says so."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Protocol, Self

import polars as pl

from cryptoai_assets.evaluate.loop_market import ReplayedMarket
from cryptoai_assets.evaluate.loop_versions import Version, Versions
from cryptoai_assets.lib.hourly_watch import can_drift, judged_hour, lined_up
from cryptoai_assets.lib.watch import (
    RETRAIN_DAYS,
    WATCH_PERIOD,
    WINDOW,
    hourly_rate,
    judged,
    scores_higher,
    trained_every,
    weekly_calibration,
)
from cryptoai_monitoring.drift import drift_table
from cryptoai_monitoring.verdict import Judged, Verdict

FIRST = "first version"
NEVER, DAILY, EVERYTHING = "never", "daily", "daily on everything"
LOOP, MOVING, THIRD = "loop", "loop, moving reference", "loop, every third day"


@dataclass(frozen=True, slots=True)
class Morning:
    """What a strategy decided at a midnight, and what it serves the day after with.

    Parameters
    ----------
    champion
        Name of its version.
    promoted_at
        When it became champion last.
    promised
        Its accuracy at the gate; None where nobody asked.
    before
        Version that it replaced, while it may be rolled back to.
    trained
        Whether a training was run.
    promoted
        What the gate said of it; None where it was not asked.
    silent
        Whether it abstains.
    verdict
        Of the loop, as `Verdict.to_dict` gives it; None of the other strategies.
    """

    at: datetime
    champion: str
    promoted_at: datetime
    promised: float | None
    before: str | None
    trained: bool
    promoted: bool | None
    silent: bool
    reason: str
    verdict: dict[str, Any] | None

    @classmethod
    def first(
        cls, champion: str, at: datetime, promised: float | None, promoted: bool | None, reason: str
    ) -> Self:
        """Begin with a version, whatever the gate says: there is no other."""
        return cls(at, champion, at, promised, None, True, promoted, False, reason, None)

    def to_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self) | {"at": self.at.isoformat(), "promoted_at": self.promoted_at.isoformat()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        times = {name: datetime.fromisoformat(record[name]) for name in ("at", "promoted_at")}
        return cls(**{**record, **times})

    def kept(self, at: datetime, reason: str) -> Self:
        """Go on with the same champion."""
        return replace(self, at=at, trained=False, promoted=None, reason=reason, verdict=None)


class Strategy(Protocol):
    """Decides at each midnight."""

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    def morning(self, now: datetime, earlier: Sequence[Morning], served: pl.DataFrame, /) -> Morning:
        """Decide what is served from now on.

        Parameters
        ----------
        earlier
            Its own mornings.
        served
            What it served: ``open_time``, ``champion``, ``probability_up`` (null while it was silent).
        """
        ...


@dataclass(frozen=True, slots=True)
class Never:
    """The first version for ever."""

    versions: Versions
    name: ClassVar[str] = NEVER

    def morning(self, now: datetime, earlier: Sequence[Morning], _served: pl.DataFrame, /) -> Morning:
        """Train once."""
        if earlier:
            return earlier[-1].kept(now, "never again")
        return Morning.first(self.versions.candidate(now).name, now, None, None, FIRST)


@dataclass(frozen=True, slots=True)
class Daily:
    """A new version every day, as the platform trains it, and no gate.

    Parameters
    ----------
    on_everything
        Whether nothing is held out: what trains daily without a gate needs no final stretch.
    """

    versions: Versions
    on_everything: bool

    @property
    def name(self) -> str:
        """Name in tables."""
        return EVERYTHING if self.on_everything else DAILY

    def morning(self, now: datetime, _earlier: Sequence[Morning], _served: pl.DataFrame, /) -> Morning:
        """Train, and serve it."""
        train = self.versions.of_everything if self.on_everything else self.versions.candidate
        return Morning.first(train(now).name, now, None, None, "daily")


@dataclass(frozen=True, slots=True)
class Watch:
    """The platform's statistics of the week and of the hour, each computed once.

    Parameters
    ----------
    found
        By midnight, and by version and release of the reference.
    """

    versions: Versions
    found: dict[tuple[datetime, str, datetime], tuple[pl.DataFrame, pl.DataFrame | None]] = field(
        default_factory=dict
    )

    def seen(self, now: datetime, reference: Morning) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Tables of the week and of the newest hour; see `drift_table` and `judged_hour`.

        No version has ten days of forecasts before its release: of the relation between features and outcome
        only the live score is watched.

        Parameters
        ----------
        reference
            When the champion was released whose past is what is usual.
        """
        key = (now, reference.champion, reference.promoted_at)
        if key not in self.found:
            self.found[key] = self._seen(now, reference)
        return self.found[key]

    def _seen(self, now: datetime, reference: Morning) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        market, plan = self.versions.market, self.versions.plan
        version = self.versions.named(reference.champion)
        names = can_drift(plan.features)
        known = market.between(plan.history_start, now)
        nothing_said = known.clear().select("open_time", "symbol", said=pl.lit(None, pl.Float64))
        drift = drift_table(
            market.between(version.trained_from, version.trained_until),
            market.between(max(now - WINDOW, version.trained_until), now),
            names,
            weekly_calibration(plan.false_alarms_a_month),
        )
        hourly = judged_hour(
            lined_up(known, nothing_said, names, plan.market),
            released_at=reference.promoted_at,
            rate=hourly_rate(plan.false_alarms_a_month),
        )
        return drift, hourly


@dataclass(frozen=True, slots=True)
class Loop:
    """The platform's watch, verdict, policy and gate.

    Parameters
    ----------
    watch
        May be shared by several.
    recalibrates
        Whether the watch's reference moves with each release, as the platform's does; otherwise it is for
        ever what lay before the first day.
    retrain_days
        After which a training is due, and within which no verdict asks for another.
    """

    versions: Versions
    watch: "Watch"
    name: str
    recalibrates: bool
    retrain_days: int

    @property
    def market(self) -> ReplayedMarket:
        """What is replayed."""
        return self.versions.market

    def morning(self, now: datetime, earlier: Sequence[Morning], served: pl.DataFrame, /) -> Morning:
        """Watch, judge, and do what the verdict says."""
        if not earlier:
            first = self.versions.candidate(now)
            found = self.versions.judged(first, None, now, FIRST)
            return Morning.first(
                first.name, now, found.promised, found.decision.promote, "; ".join(found.decision.reasons)
            )
        verdict = self.verdict(now, earlier, served)
        kept = replace(earlier[-1].kept(now, verdict.reason), verdict=verdict.to_dict())
        if verdict.action == "roll_back":
            return self._rolled_back(kept, earlier)
        kept = replace(kept, silent=kept.silent or verdict.action == "stop")
        return self._retrained(kept, now, verdict) if verdict.trains else kept

    def verdict(self, now: datetime, earlier: Sequence[Morning], served: pl.DataFrame) -> Verdict:
        """Judge the champion by what was known at a midnight."""
        plan, held = self.market.plan, earlier[-1]
        market = plan.market
        drift, hourly = self.watch.seen(now, held if self.recalibrates else earlier[0])
        scored = (
            served.filter(champion=held.champion)
            .drop_nulls("probability_up")
            .join(self.market.outcomes(now), on="open_time")
            .with_columns(horizon_bars=pl.lit(market.horizons[0]), abstention=pl.lit(None, pl.String))
        )
        return judged(
            drift=drift,
            hourly=hourly,
            told_apart=(),  # it is watched, and asks for nothing
            scored=scored,
            promised={} if held.promised is None else {market.horizons[0]: held.promised},
            worse_than=self._better_predecessor(now, held, scored),
            window_end=now,
            champion=held.champion,
            trained_at=self.versions.named(held.champion).trained_at,
            market=market,
            earlier=_judged(earlier),
            policy=trained_every(self.retrain_days),
        )

    def _better_predecessor(self, now: datetime, held: Morning, scored: pl.DataFrame) -> int | None:
        """Number of the version before, its day, where it scores higher on the rows served since."""
        if held.before is None or now - held.promoted_at > WATCH_PERIOD:
            return None
        since = self.market.rows(held.promoted_at, now)
        said = pl.Series(self.versions.named(held.before).probability_up(since))
        same = scored.join(since.keys.select("open_time", before=said), on="open_time")
        higher = scores_higher(same, self.market.plan.market.horizons[0])
        return datetime.fromisoformat(held.before).toordinal() if higher else None

    def _retrained(self, kept: Morning, now: datetime, verdict: Verdict) -> Morning:
        candidate = self.versions.candidate(now)
        champion = self.versions.named(kept.champion)
        found = self.versions.judged(candidate, champion, now, verdict.cause)
        told = replace(
            kept,
            trained=True,
            promoted=found.decision.promote,
            reason=f"{verdict.reason}; gate: {'; '.join(found.decision.reasons)}",
        )
        if not found.decision.promote:
            return told
        return replace(
            told,
            champion=candidate.name,
            promoted_at=now,
            promised=found.promised,
            before=kept.champion,
            silent=False,
        )

    def _rolled_back(self, kept: Morning, earlier: Sequence[Morning]) -> Morning:
        last = next(morning for morning in reversed(earlier) if morning.champion == kept.before)
        return replace(
            kept,
            champion=last.champion,
            promoted_at=kept.at,
            promised=last.promised,
            before=None,
            silent=False,
        )


def _judged(earlier: Sequence[Morning]) -> list[Judged]:
    return [Verdict.from_dict(morning.verdict).judged for morning in earlier if morning.verdict is not None]


def answered(
    version: Version, market: ReplayedMarket, start: datetime, end: datetime, *, silent: bool
) -> pl.DataFrame:
    """What a champion says of every bar of a day: ``open_time``, ``champion``, ``probability_up``."""
    rows = market.rows(start, end)
    said = pl.Series(version.probability_up(rows))
    return rows.keys.select(
        "open_time",
        champion=pl.lit(version.name),
        probability_up=pl.lit(None, pl.Float64) if silent else said,
    )


def every_strategy(versions: Versions) -> tuple[Strategy, ...]:
    """All that are replayed side by side; the loop that is judged is calibrated once."""
    watch = Watch(versions)
    return (
        Never(versions),
        Daily(versions, on_everything=False),
        Loop(versions, watch, LOOP, recalibrates=False, retrain_days=RETRAIN_DAYS),
        Loop(versions, watch, MOVING, recalibrates=True, retrain_days=RETRAIN_DAYS),
        Loop(versions, watch, THIRD, recalibrates=False, retrain_days=3),
        Daily(versions, on_everything=True),
    )
