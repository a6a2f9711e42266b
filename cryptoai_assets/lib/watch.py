"""The watch: what monitoring is shown of the platform's data, and what its verdict sets in motion."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.datasets import dataset
from cryptoai_assets.lib.export import graph_predictions
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.hourly_watch import judged_newest_hour, newest_close, watched_features
from cryptoai_assets.lib.live_scores import promises, scored_log
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.releases import write_json
from cryptoai_assets.lib.scoring import BootstrapSettings, log_loss, paired_interval
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_monitoring.drift import drift_table
from cryptoai_monitoring.live_score import shortfalls, standing
from cryptoai_monitoring.reports import DriftReport, draw_drift_report
from cryptoai_monitoring.then_from_now import ToldApart, told_apart
from cryptoai_monitoring.thresholds import DAYS_A_MONTH, AlarmRate, Calibration
from cryptoai_monitoring.verdict import Evidence, Judged, Verdict, VerdictPolicy, verdict
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import release_folder

VERDICT_NAME = "verdict.json"
HISTORY_NAME = "verdicts.json"
DRIFT_NAME = "drift.parquet"
ACTOR = "monitoring"
WINDOW = timedelta(days=7)
# Days with a false alarm, of the hours' statistics, the weeks' and the classifier together, and what of them
# the last two have.
FALSE_ALARMS_A_MONTH = 1.0
WEEKLY_SHARE, CLASSIFIER_SHARE = 0.125, 0.125
RETRAIN_DAYS = 7
POLICY = VerdictPolicy(
    persistence=3,
    windows=4,
    cool_down=timedelta(days=RETRAIN_DAYS),
    release=0.8,
    fallback=timedelta(days=RETRAIN_DAYS),
)
SAGS, FELL, HARMFUL = 1.0, 3.0, 3.0
DEGRADED_MINIMUM_ROWS = 500
# After a promotion the version before is scored on the same rows; the judged interval is drawn anew each day.
WATCH_PERIOD = timedelta(days=7)
WATCH_CONFIDENCE, WATCH_RESAMPLES, WATCH_SEED = 0.99, 2000, 37
# Of fewer horizons an interval is too narrow: their targets overlap too much.
WATCH_LEAST_ROWS, WATCH_LEAST_HORIZONS = 100, 20
SHOWN_FEATURES = 8
# Features that are named of what tells then from now.
TELLING_FEATURES = 3


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found in the newest window.

    Parameters
    ----------
    hourly
        What the newest hour showed; None while too few days are known before it.
    apart
        How well a classifier tells the newest week from the training rows; None while either is too short.
    """

    verdict: Verdict
    drift: pl.DataFrame
    hourly: pl.DataFrame | None
    apart: ToldApart | None
    report: DriftReport


def weekly_calibration(false_alarms_a_month: float) -> Calibration:
    """Thresholds of a week's window that is judged every day."""
    return Calibration(WEEKLY_SHARE * false_alarms_a_month / DAYS_A_MONTH, windows=300, seed=11)


def classifier_calibration(false_alarms_a_month: float) -> Calibration:
    """Thresholds of the classifier, which is asked about a week's window every day."""
    return Calibration(CLASSIFIER_SHARE * false_alarms_a_month / DAYS_A_MONTH, windows=300, seed=11)


def hourly_rate(false_alarms_a_month: float) -> AlarmRate:
    """False alarms that are left to the hours' statistics."""
    share = 1 - WEEKLY_SHARE - CLASSIFIER_SHARE
    return AlarmRate(share * false_alarms_a_month, block_days=10, draws=300, seed=11)


def trained_every(days: int) -> VerdictPolicy:
    """The platform's policy where a training is due, and asked for at most, after so many days."""
    return replace(POLICY, cool_down=timedelta(days=days), fallback=timedelta(days=days))


def watch(
    home: Home,
    forecaster: Forecaster,
    features: pl.DataFrame,
    *,
    false_alarms_a_month: float,
    policy: VerdictPolicy,
) -> Watched:
    """Judge the newest window of the market against what the champion was trained on.

    Parameters
    ----------
    features
        Features and targets of every stored bar, sorted by symbol and open time.
    """
    names = watched_features(forecaster)
    ordered = features.sort("open_time", "symbol")
    window_end = newest_close(features, home.market)
    trained_until = datetime.fromisoformat(forecaster.manifest.trained_until)
    reference = ordered.filter(pl.col("open_time") < trained_until)
    window = ordered.filter(pl.col("open_time") >= max(window_end - WINDOW, trained_until))
    # The hours' thresholds take as long as all the rest.
    with ThreadPoolExecutor(1) as beside:
        hours = beside.submit(
            judged_newest_hour, home, forecaster, features, hourly_rate(false_alarms_a_month)
        )
        drift = drift_table(reference, window, names, weekly_calibration(false_alarms_a_month))
        apart = told_apart(
            reference,
            window,
            names,
            outcome=f"return_{home.market.horizons[0]}",
            calibration=classifier_calibration(false_alarms_a_month),
        )
        hourly = hours.result()
    scored = scored_log(home, features).filter(pl.col("bundle") == forecaster.digest)
    found = judged(
        drift=drift,
        hourly=hourly,
        told_apart=apart.named(TELLING_FEATURES) if apart else (),
        scored=scored,
        promised=_accuracies(promises(home, forecaster.digest)),
        worse_than=better_predecessor(home, scored, features, window_end),
        window_end=window_end,
        champion=forecaster.digest,
        trained_at=datetime.fromisoformat(forecaster.manifest.as_of),
        market=home.market,
        earlier=_history(home.monitoring),
        policy=policy,
    )
    report = draw_drift_report(home.monitoring, reference, window, drift)
    write_parquet_atomically(drift, home.monitoring / DRIFT_NAME)
    _remember(home.monitoring, found)
    return Watched(found, drift, hourly, apart, report)


def judged(
    *,
    drift: pl.DataFrame,
    hourly: pl.DataFrame | None,
    told_apart: tuple[str, ...],
    scored: pl.DataFrame,
    promised: Mapping[int, float],
    worse_than: int | None,
    window_end: datetime,
    champion: str,
    trained_at: datetime,
    market: Market,
    earlier: Sequence[Judged],
    policy: VerdictPolicy,
) -> Verdict:
    """Judge what a window showed, by the platform's limits.

    Parameters
    ----------
    drift, hourly
        From `drift_table` and `cryptoai_assets.lib.hourly_watch.judged_hour`.
    told_apart, trained_at
        See `Evidence`.
    scored
        From `cryptoai_monitoring.live_score.scored_forecasts`, of the champion.
    promised
        Accuracy at promotion, by horizon.
    worse_than
        Version before, when it was found to be better.
    policy
        From `trained_every`.
    """
    even = dict.fromkeys(market.horizons, 0.5)
    return verdict(
        Evidence(
            window_end=window_end,
            champion=champion,
            trained_at=trained_at,
            drifted=_drifted(drift, hourly),
            excess=max(drift["excess"][0], 0.0 if hourly is None else hourly["excess"][0]),
            watched=drift.height + (0 if hourly is None else hourly.height),
            standing=standing(
                shortfalls(scored, promised, minimum_rows=DEGRADED_MINIMUM_ROWS), sags=SAGS, fell=FELL
            ),
            worse_than=worse_than,
            harmful=standing(
                shortfalls(scored, even, minimum_rows=DEGRADED_MINIMUM_ROWS), sags=HARMFUL, fell=HARMFUL
            )
            == "fell",
            told_apart=told_apart,
        ),
        model=market.model,
        earlier=earlier,
        policy=policy,
    )


def _drifted(drift: pl.DataFrame, hourly: pl.DataFrame | None) -> tuple[str, ...]:
    """Names beyond their thresholds, the largest excess first; a column of one symbol with its symbol."""
    excess = dict(drift.filter("drifted").select("feature", "excess").iter_rows())
    if hourly is not None:
        for row in hourly.filter("drifted").iter_rows(named=True):
            excess[f"{row['column']} of {row['symbol']}"] = row["excess"]
    return tuple(sorted(excess, key=lambda name: -excess[name]))


def better_predecessor(
    home: Home, scored: pl.DataFrame, features: pl.DataFrame, window_end: datetime
) -> int | None:
    """Version before, when it is better than a champion that was promoted lately, on the rows served since.

    Its forecasts of the same bars are made by its bundle from the stored features. None beyond the time of
    watch, after a rollback, and where nothing is shown.

    Parameters
    ----------
    scored
        From `cryptoai_monitoring.live_score.scored_forecasts`, of the champion.
    """
    model = home.market.model
    lines = [e for e in home.ledger.entries(model) if e.kind in ("promotion", "rollback")]
    first = scored["known_at"].min()
    if not lines or lines[-1].kind != "promotion" or lines[-1].previous is None:
        return None
    folder = release_folder(home.releases, model, lines[-1].previous)
    if not isinstance(first, datetime) or window_end - first > WATCH_PERIOD or not folder.is_dir():
        return None
    before = Forecaster.load(folder)
    manifest = before.manifest
    rows = dataset(features, features, manifest.features, lookback=manifest.lookback, bar=home.market.bar)
    rows = rows.between(first - home.market.bar, None)
    if not len(rows):
        return None
    said = graph_predictions(before, rows).probability_up
    answered = scored.filter(pl.col("abstention").is_null(), pl.col("return_bps") != 0)
    for place, horizon in enumerate(home.market.horizons):
        same = answered.filter(horizon_bars=horizon).join(
            rows.keys.with_columns(before=pl.Series(said[:, place])), on=["open_time", "symbol"]
        )
        if scores_higher(same, horizon):
            return lines[-1].previous
    return None


def scores_higher(same: pl.DataFrame, horizon: int) -> bool:
    """Whether the version before is shown to have the lower log loss, on enough rows.

    Parameters
    ----------
    same
        ``open_time``, ``return_bps`` (known, and no zero), ``probability_up`` of the champion, ``before`` of
        the other.
    """
    if same["open_time"].n_unique() < max(WATCH_LEAST_ROWS, WATCH_LEAST_HORIZONS * horizon):
        return False
    up = (same["return_bps"] > 0).cast(pl.Float64).to_numpy()
    ours, theirs = (log_loss(same[name].to_numpy(), up) for name in ("probability_up", "before"))
    bootstrap = BootstrapSettings(10 * horizon, WATCH_RESAMPLES, WATCH_SEED, WATCH_CONFIDENCE)
    return paired_interval(ours, theirs, same["open_time"], bootstrap).lower > 0


def act(home: Home, found: Verdict, *, version: int, at: datetime) -> str:
    """Carry out a rollback or a stop; a retrain is asked for by a sensor. Done again, it changes nothing.

    Returns
    -------
    str
        What was done, or an empty text.

    Raises
    ------
    PromotionError
        When the version before may not be released any more.
    """
    desk, model, numbers = home.release_desk, home.market.model, found.to_dict()
    if found.action == "roll_back" and found.evidence.worse_than is not None:
        before = found.evidence.worse_than
        desk.promote(model, before, actor=ACTOR, reason=found.reason, numbers=numbers, at=at, kind="rollback")
        return f"rolled back from version {version} to {before}"
    if found.action == "stop":
        desk.stop(model, version, actor=ACTOR, reason=found.reason, numbers=numbers, at=at)
        return f"version {version} abstains until somebody answers for it, or another one is released"
    return ""


def _accuracies(promised: Mapping[str, float]) -> dict[int, float]:
    return {
        int(name.split("/")[0][1:]): value for name, value in promised.items() if name.endswith("/accuracy")
    }


def _history(folder: Path) -> list[Judged]:
    path = folder / HISTORY_NAME
    if not path.is_file():
        return []
    return [
        Judged(
            **{
                "trains": record["action"] == "retrain",
                **record,
                "window_end": datetime.fromisoformat(end),
            }
        )
        for end, record in sorted(json.loads(path.read_bytes()).items())
        if isinstance(record, dict)  # what an earlier version of this code kept says too little
    ]


def _remember(folder: Path, found: Verdict) -> None:
    """Keep one line a window; a window that is judged again replaces its line.

    That it asked for a training stays known; the champion that this brought may have the same window.
    """
    known = {judged.window_end: judged for judged in _history(folder)}
    window = found.evidence.window_end
    asked = window in known and known[window].trains
    known[window] = replace(found.judged, trains=asked or found.trains)
    write_json(folder / HISTORY_NAME, {end.isoformat(): _line(judged) for end, judged in known.items()})
    write_json(folder / VERDICT_NAME, found.to_dict())


def _line(judged: Judged) -> dict[str, object]:
    record = asdict(judged)
    del record["window_end"]
    return record


def newest_verdict(home: Home) -> Verdict | None:
    """Read the newest verdict; None before the first."""
    path = home.monitoring / VERDICT_NAME
    return Verdict.from_dict(json.loads(path.read_bytes())) if path.is_file() else None


def drift_alert(home: Home, found: Verdict, *, links: Mapping[str, str], now: datetime) -> Alert:
    """What a person is told: what drifted, how much, what follows, and where to look."""
    drift = pl.read_parquet(home.monitoring / DRIFT_NAME).filter("drifted")
    facts = [
        (
            row["feature"],
            f"PSI {row['psi']:.2f}, threshold {row['threshold']:.2f}; mean {row['reference_mean']:.3g} → "
            f"{row['window_mean']:.3g} (deviation {row['reference_deviation']:.3g})",
        )
        for row in drift.head(SHOWN_FEATURES).iter_rows(named=True)
    ]
    hourly = [name for name in found.evidence.drifted if name not in set(drift["feature"])]
    facts += [(name, "beyond its hourly threshold") for name in hourly[:SHOWN_FEATURES]]
    told = [("then is told from now by", by) for by in found.evidence.told_apart]
    return Alert(
        cause=found.cause,
        severity="warning" if found.action == "watch" else "critical",
        title=f"{_subject(found)} in {home.market.name}: {found.action.replace('_', ' ')}",
        summary=found.reason,
        facts=(("window ends", f"{found.evidence.window_end:%Y-%m-%d %H:%M} UTC"), *facts, *told),
        links=tuple(links.items()),
        raised_at=now,
    )


def _subject(found: Verdict) -> str:
    if found.action == "roll_back" or found.evidence.standing == "fell" or found.evidence.harmful:
        return "Drift and fallen score" if found.drifting else "Fallen score"
    return "Drift" if found.drifting or found.evidence.told_apart else "Training due"


def failure_alert(
    home: Home,
    cause: str,
    failed: Mapping[str, str],
    *,
    kind: str,
    because: str | None,
    links: Mapping[str, str],
    now: datetime,
) -> Alert:
    """What a person is told of something that failed; one alert a cause.

    Parameters
    ----------
    failed
        Step, check or sensor, and what went wrong there.
    kind
        What failed, as a word: run, check, sensor.
    because
        Why the run was started, where that is recorded.
    """
    started = (("started because of", because),) if because else ()
    return Alert(
        cause=cause,
        severity="critical",
        title=f"{kind.capitalize()} failed in {home.market.name}",
        summary=f"failed: {', '.join(failed)}",
        facts=(*failed.items(), *started),
        links=tuple(links.items()),
        raised_at=now,
        kind=failure_kind(home, kind),
        about=tuple(failed),
    )


def failure_kind(home: Home, kind: str) -> str:
    """What alerts about failures of one kind have in common."""
    return f"failed {kind} in {home.market.name}"


def recovery_alert(
    home: Home, run_id: str, recovered: Sequence[str], *, kind: str, links: Mapping[str, str], now: datetime
) -> Alert:
    """What a person is told of steps or checks that were told as failed, and are well again in a run."""
    return Alert(
        cause=f"recovered-{kind}:{run_id}",
        severity="info",
        title=f"{kind.capitalize()} well again in {home.market.name}",
        summary=f"well again: {', '.join(recovered)}",
        facts=(),
        links=tuple(links.items()),
        raised_at=now,
    )


@dataclass(frozen=True, slots=True)
class News:
    """What of the outcomes of a run is to be told.

    Parameters
    ----------
    failed
        What failed and was not told that day, and what it says.
    recovered
        What was told as failed, and is well again.
    told
        Day on which each of those that fail was told last, as ``YYYY-MM-DD``.
    """

    failed: dict[str, str]
    recovered: tuple[str, ...]
    told: dict[str, str]


def news_of(told: Mapping[str, str], outcomes: Mapping[str, str | None], day: str) -> News:
    """What failed is told once a day, until it is well; what was well in between, and fails anew, at once.

    Parameters
    ----------
    told
        Of the runs before; see `News`.
    outcomes
        By step or check what went wrong; None when all is well. What the run did not come to is absent.
    """
    recovered = tuple(name for name in told if outcomes.get(name, "not looked at") is None)
    still = {name: last for name, last in told.items() if name not in recovered}
    failed = {name: said for name, said in outcomes.items() if said is not None and still.get(name, "") < day}
    return News(failed, recovered, still | dict.fromkeys(failed, day))


def raise_alert(home: Home, alert: Alert) -> bool:
    """Put an alert into the outbox; False when its cause is there already."""
    return Outbox(home.alerts_database).add(alert)
