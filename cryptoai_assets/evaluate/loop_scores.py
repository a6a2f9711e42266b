"""Scores of the loop's study: each strategy's, and how they differ on the same minutes."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from cryptoai_assets.evaluate.loop_market import ROOM, LoopPlan, ReplayedMarket
from cryptoai_assets.evaluate.loop_strategies import DAILY, EVERYTHING, LOOP, MOVING, NEVER, THIRD, Morning
from cryptoai_assets.evaluate.rows import COMMAND, EvaluationRow, table_lines
from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.figures import retraining_figure
from cryptoai_assets.lib.scoring import direction_scores, log_loss, paired_interval

# Accuracy that the loop may lose against training daily, and of its trainings how many it may need.
MARGIN = 0.003
TRAININGS_SHARE = 1 / 3
# Of which a goal is asked, and what is told beside them.
JUDGED = ((LOOP, DAILY), (LOOP, NEVER), (THIRD, DAILY), (THIRD, NEVER))
LOOPS = (LOOP, MOVING, THIRD)
BESIDE = (
    (DAILY, NEVER),
    (LOOP, EVERYTHING),
    (EVERYTHING, DAILY),
    (MOVING, DAILY),
    (MOVING, NEVER),
    (THIRD, LOOP),
)


def scored_rows(market: ReplayedMarket, served: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Every served minute that moved: ``open_time``, ``up``, and each strategy's probability of up.

    A strategy that was silent said even odds.
    """
    plan = market.plan
    end = plan.midnights[-1] + 2 * plan.window
    rows = market.outcomes(end).select("open_time", up=(pl.col("return_bps") > 0).cast(pl.Float64))
    for name, said in served.items():
        answers = said.select("open_time", pl.col("probability_up").fill_null(0.5).alias(name))
        rows = rows.join(answers, on="open_time", how="inner", validate="1:1")
    return rows.sort("open_time")


def right(probability_up: Float64Array, up: Float64Array) -> Float64Array:
    """1 where the direction is right, 0 where it is wrong, one half at even odds."""
    return np.where(probability_up == 0.5, 0.5, (probability_up > 0.5) == (up > 0.5)).astype(np.float64)


def loop_rows(
    scored: pl.DataFrame, mornings: Mapping[str, Sequence[Morning]], plan: LoopPlan
) -> list[EvaluationRow]:
    """Differences that are judged, those beside them, trainings, and each strategy's own scores."""
    rows = [_difference(scored, ours, theirs, plan) for ours, theirs in (*JUDGED, *BESIDE)]
    rows += [_saved(scored, ours, theirs, plan) for ours, theirs in (*JUDGED, *BESIDE)]
    daily = trainings(mornings[DAILY])
    rows += [
        EvaluationRow(
            f"{ROOM}/trainings-{_slug(name)}",
            (count := trainings(mornings[name])),
            f"in {plan.live_days} days",
            goal=daily * TRAININGS_SHARE if name != MOVING else None,
            met=count <= daily * TRAININGS_SHARE if name != MOVING else None,
            reference=DAILY,
            reference_value=daily,
        )
        for name in LOOPS
    ]
    up, times = scored["up"].to_numpy(), scored["open_time"]
    for name in mornings:
        for score in direction_scores(scored[name].to_numpy(), up, times, plan.bootstrap):
            if score.name in ("accuracy", "log_loss"):
                rows.append(
                    EvaluationRow(
                        f"{ROOM}/{_slug(score.name)}-{_slug(name)}",
                        score.value,
                        f"of {score.rows} minutes",
                        lower=score.lower,
                        upper=score.upper,
                    )
                )
    return rows


def trainings(mornings: Sequence[Morning]) -> int:
    """Trainings after the first, promoted or not."""
    return sum(morning.trained for morning in mornings[1:])


def _difference(scored: pl.DataFrame, ours: str, theirs: str, plan: LoopPlan) -> EvaluationRow:
    """Accuracy of one less that of the other; against daily training it may lose the margin."""
    up = scored["up"].to_numpy()
    wrong = [1 - right(scored[name].to_numpy(), up) for name in (theirs, ours)]
    found = paired_interval(wrong[0], wrong[1], scored["open_time"], plan.bootstrap)
    goal = -MARGIN if theirs == DAILY else 0.0
    judged = (ours, theirs) in JUDGED
    return EvaluationRow(
        f"{ROOM}/accuracy-of-{_slug(ours)}-less-{_slug(theirs)}",
        found.mean,
        f"of {found.rows} minutes",
        lower=found.lower,
        upper=found.upper,
        goal=goal if judged else None,
        met=found.lower > goal if judged else None,
        reference="detectable",
        reference_value=found.least_detectable,
    )


def _saved(scored: pl.DataFrame, ours: str, theirs: str, plan: LoopPlan) -> EvaluationRow:
    """Log loss that one saves against the other."""
    up = scored["up"].to_numpy()
    loss = [log_loss(scored[name].to_numpy(), up) for name in (theirs, ours)]
    found = paired_interval(loss[0], loss[1], scored["open_time"], plan.bootstrap)
    return EvaluationRow(
        f"{ROOM}/log-loss-saved-by-{_slug(ours)}-from-{_slug(theirs)}",
        found.mean,
        "nats a minute",
        lower=found.lower,
        upper=found.upper,
    )


def _slug(name: str) -> str:
    return name.replace(",", "").replace("_", "-").replace(" ", "-")


def daily_table(scored: pl.DataFrame, *, every: str = "1d") -> pl.DataFrame:
    """One row a day: minutes, and each strategy's accuracy and log loss.

    Parameters
    ----------
    every
        Another length of the time that a row is of, as polars names it.
    """
    names = [name for name in scored.columns if name not in ("open_time", "up")]
    up = scored["up"].to_numpy()
    columns = {
        f"{what}, {name}": score(scored[name].to_numpy(), up)
        for what, score in (("accuracy", right), ("log loss", log_loss))
        for name in names
    }
    rows = pl.DataFrame({"day": scored["open_time"].dt.truncate(every).dt.date(), **columns})
    return rows.group_by("day").agg(pl.len().alias("minutes"), pl.col(list(columns)).mean()).sort("day")


def figure(scored: pl.DataFrame, mornings: Mapping[str, Sequence[Morning]], plan: LoopPlan) -> Figure:
    """Right directions beyond even odds, and each training that the loop asked for."""
    days = daily_table(scored)
    return retraining_figure(
        days["day"].to_list(),
        {name: ((days[f"accuracy, {name}"] - 0.5) * days["minutes"]).to_numpy() for name in mornings},
        {
            name: {one.at.date(): bool(one.promoted) for one in mornings[name][1:] if one.trained}
            for name in LOOPS
        },
        beside=NEVER,
        title=f"{plan.market.symbols[0]}, {plan.market.horizons[0]} minutes ahead: who trains when",
    )


def report(
    rows: Sequence[EvaluationRow],
    scored: pl.DataFrame,
    mornings: Mapping[str, Sequence[Morning]],
    plan: LoopPlan,
    *,
    commit: str,
) -> str:
    """All rows, months, and what the loops did, as Markdown."""
    market = plan.market
    lines = [
        f"# The loop on {', '.join(market.symbols)}, {market.venue}, {market.interval} bars, "
        f"{plan.live_start:%Y-%m-%d}, {plan.live_days} days",
        "",
        f"`{COMMAND} ONLY={ROOM} SYMBOL={market.symbols[0]}` at `{commit}`. The {THIRD}, was added after a "
        "first look at the table of BTCUSD. Part of what is right over minutes is bid-ask bounce, which "
        "nobody can trade. Not investment advice. [What was replayed](../loop.md)",
        "",
        f"![Right directions day by day]({ROOM}-{market.name}.png)",
        "",
        *table_lines(rows),
        "",
        "## By month",
        "",
        *_months(scored, list(mornings)),
    ]
    for name in LOOPS:
        lines += ["", f"## What was done: {name}", "", *_doings(mornings[name])]
    return "\n".join(lines) + "\n"


def _months(scored: pl.DataFrame, names: Sequence[str]) -> list[str]:
    lines = [f"| accuracy | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for row in daily_table(scored, every="1mo").iter_rows(named=True):
        values = " | ".join(f"{row[f'accuracy, {name}']:.4f}" for name in names)
        lines.append(f"| {row['day']:%Y-%m} | {values} |")
    return lines


def _doings(mornings: Sequence[Morning]) -> list[str]:
    lines = ["| midnight | what | why |", "|---|---|---|"]
    for morning in mornings:
        action = (morning.verdict or {}).get("action", "keep")
        if morning.trained:
            what = "trained, promoted" if morning.promoted else "trained, refused"
        else:
            what = action.replace("_", " ")
        if action not in ("keep", "watch") or morning.trained:
            lines.append(f"| {morning.at:%Y-%m-%d} | {what} | {morning.reason} |")
    return lines
