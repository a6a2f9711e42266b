"""The digest: a week of the platform in one message: scores, decisions, drift, outages, cost."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import polars as pl

from cryptoai_assets.lib.expenses import Expenses, Prices
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.ledger import EntryKind
from cryptoai_assets.lib.trouble import SLOWEST_SHARE
from cryptoai_serving.forecast_log import ForecastLog
from edge_bundle.alerts import Alert, KeptAlert, Outbox

Facts = list[tuple[str, str]]
DECISIONS: dict[EntryKind, str] = {
    "retraining": "trainings asked for",
    "promotion": "promotions",
    "refusal": "refusals",
    "rollback": "rollbacks",
    "stop": "stops",
}
SHOWN = 8


def digest(
    home: Home, prices: Prices, *, since: datetime, until: datetime, links: Mapping[str, str]
) -> Alert:
    """What happened from ``since`` to ``until``, as one message; news, which needs no answer."""
    facts = [
        *live_score_facts(home, since, until),
        *_decisions(home, since, until),
        *_alerts(home, since, until),
        *_cost(home, prices, since, until),
    ]
    return Alert(
        cause=f"digest:{home.market.name}:{until:%Y-%m-%d}",
        severity="info",
        title=f"The week of {home.market.name}",
        summary=f"from {since:%Y-%m-%d} to {until:%Y-%m-%d}",
        facts=tuple(facts),
        links=tuple(links.items()),
        raised_at=until,
    )


def live_score_facts(home: Home, since: datetime, until: datetime) -> Facts:
    """How many forecasts were asked for, and how those did whose outcome is known."""
    with ForecastLog(home.forecasts_database) as log:
        asked = log.read(model=home.market.model).filter(
            pl.col("asked_at") >= since, pl.col("asked_at") < until
        )
        happened = log.outcomes(model=home.market.model)
    if asked.is_empty():
        return [("forecasts", "none was asked for")]
    answers = asked.unique(["request_id", "symbol"])
    abstained = answers["abstention"].is_not_null().sum()
    slow = answers["latency_ms"].quantile(SLOWEST_SHARE) or 0.0
    counted = f"{answers.height}, {abstained} abstentions; nineteen of twenty within {slow:.0f} ms"
    scored = asked.join(happened, on=["symbol", "known_at", "horizon_bars"], how="inner")
    return [("forecasts", counted), *_directions(scored)]


def _directions(scored: pl.DataFrame) -> Facts:
    """How often the direction was right, over what was answered and moved."""
    keys = ("version", "symbol", "horizon_bars")
    up, p = pl.col("return_bps") > 0, pl.col("probability_up")
    moved = scored.filter(pl.col("abstention").is_null(), pl.col("return_bps") != 0)
    scores = moved.group_by(keys).agg(
        rows=pl.len(), right=((p > 0.5) == up).mean(), brier=((p - up.cast(pl.Float64)) ** 2).mean()
    )
    return [
        (
            f"version {row['version']}, {row['symbol']}, {row['horizon_bars']} bars ahead",
            f"direction right in {row['right']:.1%} of {row['rows']}, Brier {row['brier']:.3f}",
        )
        for row in scores.sort(keys).head(SHOWN).iter_rows(named=True)
    ]


def _decisions(home: Home, since: datetime, until: datetime) -> Facts:
    lines = [line for line in home.ledger.entries() if since <= line.at < until]
    facts = []
    for kind, label in DECISIONS.items():
        of_kind = [line for line in lines if line.kind == kind]
        versions = sorted({f"{line.model} {line.version}" for line in of_kind})
        facts.append((label, f"{len(of_kind)}: {', '.join(versions)}" if of_kind else "none"))
    return facts


def _alerts(home: Home, since: datetime, until: datetime) -> Facts:
    """What was told, by kind, drift and outages among it, and what nobody has answered yet."""
    kept = [one for one in Outbox(home.alerts_database).kept() if one.alert.severity != "info"]
    raised = Counter(_kind(one) for one in kept if since <= one.alert.raised_at < until)
    still = [one.alert.title for one in kept if one.state_at(until) == "open"]
    counted = ", ".join(f"{count} × {kind}" for kind, count in raised.most_common(SHOWN))
    more = f" and {len(still) - SHOWN} more" if len(still) > SHOWN else ""
    return [("alerts", counted or "none"), ("still open", "; ".join(still[:SHOWN]) + more or "none")]


def _kind(kept: KeptAlert) -> str:
    return kept.alert.kind or kept.alert.title


def _cost(home: Home, prices: Prices, since: datetime, until: datetime) -> Facts:
    runs = Expenses(home.expenses).between(since, until)
    minutes = sum(run.minutes for run in runs)
    priced = f", at {prices.a_minute:g} a minute {minutes * prices.a_minute:.2f}" if prices.a_minute else ""
    longest = f"; longest {runs[0].job}, {runs[0].minutes:.1f} minutes" if runs else ""
    return [("computed", f"{len(runs)} runs, {minutes:.1f} minutes{priced}{longest}")]
