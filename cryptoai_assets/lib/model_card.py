"""The model card: what a version was made of, how good it is and where not, all from what was recorded."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from cryptoai_assets.lib.backtest import BASIS_POINTS
from cryptoai_assets.lib.candidate import Candidate
from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.coupling import VOLATILITY_ANCHOR
from cryptoai_assets.lib.models.zoo import model_record
from cryptoai_assets.lib.skill_tests import CHANCE, skill_tests
from cryptoai_assets.lib.slices import (
    accuracy_by_confidence,
    confidence_thresholds,
    scores_by_model,
    sliced_scores,
    volatility_regimes,
)
from cryptoai_assets.lib.training import Splits
from edge_bundle.manifest import Manifest

THIS_VERSION = "this version"
CARD_NAME = "model_card.md"
SHOWN_METRICS = ("accuracy", "log_loss", "rank_ic", "volatility_rank_ic", "qlike")
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says, each from a record or from the rows of the final stretch.

    Parameters
    ----------
    rows
        ``symbol``, ``trained_rows``, ``scored_rows``, ``first``, ``last``.
    scores
        From `scores_by_model`, of `THIS_VERSION` and of the baselines on the same rows.
    slices, confidence, tests
        From `sliced_scores`, `accuracy_by_confidence` and `skill_tests`.
    backtest
        Record of the backtest.
    stretch_uses
        How often versions were scored on this final stretch.
    trials_on_rows
        Trials of every search on the rows of this one.
    """

    candidate: Candidate
    manifest: Manifest
    market: Market
    splits: Splits
    rows: pl.DataFrame
    scores: pl.DataFrame
    slices: pl.DataFrame
    confidence: pl.DataFrame
    tests: pl.DataFrame
    backtest: Mapping[str, Any]
    stretch_uses: int
    trials_on_rows: int

    def scored(self, horizon: int, metric: str) -> dict[str, Any]:
        """Score of this version."""
        [row] = self.scores.filter(model=THIS_VERSION, horizon=horizon, metric=metric).to_dicts()
        return row


def card_facts(
    candidate: Candidate,
    manifest: Manifest,
    data: Dataset,
    splits: Splits,
    *,
    market: Market,
    said: pl.DataFrame,
    baselines: pl.DataFrame,
    earlier: pl.DataFrame,
    backtest: Mapping[str, Any],
    stretch_uses: int,
    trials_on_rows: int,
) -> CardFacts:
    """Gather the facts of a version's card.

    Parameters
    ----------
    data
        Rows that the version was trained and scored on.
    said, baselines
        Predictions of the version and, told apart by ``model``, of the baselines on the final stretch.
    earlier
        Out-of-sample predictions of the procedure, by the version's kind, which set the thresholds of
        confidence.
    """
    bootstrap = candidate.settings.bootstrap(market)
    levels = data.keys.with_columns(level=pl.Series(data.column(VOLATILITY_ANCHOR)))
    regimes = volatility_regimes(levels, trained_until=splits.stretch.train_end)
    ours = said.with_columns(model=pl.lit(THIS_VERSION))
    others = {str(kind): rows for (kind,), rows in baselines.group_by("model", maintain_order=True)}
    return CardFacts(
        candidate=candidate,
        manifest=manifest,
        market=market,
        splits=splits,
        rows=_rows_by_symbol(data, splits),
        scores=scores_by_model(pl.concat([ours, baselines.select(ours.columns)]), bootstrap),
        slices=sliced_scores(said, regimes, bootstrap),
        confidence=accuracy_by_confidence(said, confidence_thresholds(earlier), bootstrap),
        tests=skill_tests(said, others),
        backtest=backtest,
        stretch_uses=stretch_uses,
        trials_on_rows=trials_on_rows,
    )


def _rows_by_symbol(data: Dataset, splits: Splits) -> pl.DataFrame:
    opened = pl.col("open_time")
    trained = opened < splits.stretch.train_end
    scored = opened.is_between(splits.stretch.test_start, splits.stretch.test_end, closed="left")
    return (
        data.keys.group_by("symbol")
        .agg(trained_rows=trained.sum(), scored_rows=scored.sum(), first=opened.min(), last=opened.max())
        .sort("symbol")
    )


def card_text(facts: CardFacts) -> str:
    """Card in Markdown."""
    parts = [
        ("", _head(facts)),
        ("Made of", [*_made_of(facts), "", _table(facts.rows)]),
        ("Split", _split(facts)),
        ("On the final stretch", _scores(facts)),
        ("By symbol, year and regime of volatility", _slices(facts)),
        (
            "By confidence",
            [
                _CONFIDENCE,
                "",
                _table(_with_interval(facts.confidence.sort("horizon", maintain_order=True), "accuracy")),
            ],
        ),
        ("Tests", [_TESTS, "", _table(facts.tests)]),
        ("Trading", _trading(facts)),
        ("Limits", [f"- {sentence}" for sentence in limits(facts)]),
        ("Not to be used", [f"- {sentence}" for sentence in refusals(facts)]),
    ]
    return (
        "\n\n".join("\n".join([*([f"## {title}", ""] if title else []), *lines]) for title, lines in parts)
        + "\n"
    )


_CONFIDENCE = (
    "Leads over one half are those of the walk-forward's earlier folds; `answered` is the share that they "
    "answer on the final stretch."
)
_TESTS = (
    "Errors count the overlap of the horizons. A statistic above 0 speaks for this version; its loss is the "
    "log loss of the direction, the squared error of the return, QLIKE of the volatility."
)


def summary(facts: CardFacts) -> str:
    """Few lines for a registry's description; the card is among the artifacts of the run."""
    scored = [
        f"- {_bars(horizon)}: accuracy {_interval(facts.scored(horizon, 'accuracy'))}, "
        f"volatility rank IC {_interval(facts.scored(horizon, 'volatility_rank_ic'))}"
        for horizon in facts.manifest.horizons
    ]
    return "\n".join([*_head(facts)[:3], "", *scored, "", f"The whole card: `{CARD_NAME}` of its run."])


def _head(facts: CardFacts) -> list[str]:
    candidate, manifest = facts.candidate, facts.manifest
    return [
        f"# {candidate.model}, version {candidate.version}",
        "",
        f"A {candidate.kind} that forecasts return, direction and volatility of "
        f"{', '.join(manifest.symbols)} ({manifest.venue}, {manifest.interval} bars) over "
        f"{_listed(manifest.horizons)} bars. Not investment advice.",
    ]


def _made_of(facts: CardFacts) -> list[str]:
    candidate, manifest = facts.candidate, facts.manifest
    record = model_record(candidate.model_settings)
    members = [member["kind"] for member in record.pop("members", [])]
    settings = {**record, **({"members": members} if members else {})}
    return _items(
        {
            "data": f"known on {_time(candidate.as_of)}, fingerprint `{candidate.data_fingerprint[:12]}`",
            "facts beside candles": ", ".join(manifest.facts) or "none",
            "features": f"{len(manifest.features)} of {len(candidate.features_offered)} offered, chosen in "
            f"the training rows, fingerprint `{candidate.feature_fingerprint[:12]}`",
            "bars needed": f"{manifest.bars_needed}, of which {manifest.lookback} are the input",
            "settings": ", ".join(f"{name} {_plain(value)}" for name, value in settings.items()),
            "trained because": candidate.cause,
            "code": f"`{candidate.git_commit}`",
            "bundle": f"`{candidate.bundle_digest[:12]}`, precision {manifest.quantization['precision']}, "
            f"equal to its original on {candidate.agreement.share:.2%} of real rows",
        }
    )


def _split(facts: CardFacts) -> list[str]:
    candidate, stretch = facts.candidate, facts.splits.stretch
    settings = candidate.settings
    folds = facts.splits.folds
    return _items(
        {
            "search": f"rows before {_time(folds[0].train_end)}; {facts.trials_on_rows} trials were ever "
            "made on them",
            "procedure": f"{len(folds)} folds walk forward from {_time(folds[0].test_start)}, purged by "
            f"{max(facts.manifest.horizons)} bars, embargo {settings.embargo_bars} bars",
            "fit": f"once, on rows before {_time(stretch.train_end)}",
            "final stretch": f"{_time(stretch.test_start)} to {_time(stretch.test_end)}; versions were "
            f"scored on it {facts.stretch_uses} times, this one included",
            "intervals": f"{settings.confidence:.0%}, block bootstrap over "
            f"{settings.bootstrap(facts.market).block_bars} bars, {settings.resamples} resamples",
        }
    )


def _scores(facts: CardFacts) -> Iterator[str]:
    yield "Its own bytes, beside the baselines on the same rows."
    for horizon in facts.manifest.horizons:
        yield f"\n**{_bars(horizon)}**\n"
        yield _table(_by_metric(facts.scores.filter(horizon=horizon), "model"))


def _slices(facts: CardFacts) -> Iterator[str]:
    yield f"Regimes are thirds of `{VOLATILITY_ANCHOR}` of each symbol, with the bounds of the training rows."
    for horizon in facts.manifest.horizons:
        yield f"\n**{_bars(horizon)}**\n"
        yield _table(_by_metric(facts.slices.filter(horizon=horizon), "slice", "part"))


def _trading(facts: CardFacts) -> list[str]:
    record = facts.backtest
    done, sharpe = record["performance"], record["sharpe"]
    return _items(
        {
            "rule": f"{record['horizon']} bars ahead, from a lead of {record['rule']['lead']:g}, chosen on "
            "the walk-forward",
            "after costs": f"{done['total_return']:+.2%}, Sharpe {sharpe['value']:.2f} "
            f"[{sharpe['lower']:.2f}, {sharpe['upper']:.2f}] a year, drawdown "
            f"{done['maximum_drawdown']:.2%}; buy and hold {record['buy_and_hold']:+.2%}",
            "costs": f"{facts.market.costs.rate * BASIS_POINTS:.1f} bp a unit of turnover; nothing is left "
            f"from {done['breakeven_cost_bps']:.1f} bp on",
            "deflated Sharpe ratio": f"{record['deflated_sharpe']:.3f}, of {record['trials_in_all']} trials",
        }
    )


def limits(facts: CardFacts) -> Iterator[str]:
    """What the numbers do not show, or show not to hold."""
    manifest, stretch = facts.manifest, facts.splits.stretch
    days = (stretch.test_end - stretch.test_start).days
    yield f"It was scored on {days} days; of other times nothing is known."
    for horizon in manifest.horizons:
        accuracy = facts.scored(horizon, "accuracy")
        if accuracy["lower"] <= 0.5:
            yield f"{_bars(horizon)}: its direction is not told from chance ({_interval(accuracy)})."
    unproved = facts.tests.filter(
        (pl.col("statistic").is_nan()) | (pl.col("statistic") <= 0) | (pl.col("p_value") > LEVEL)
    )
    for row in unproved.filter(pl.col("against") != CHANCE).iter_rows(named=True):
        yield (
            f"{_bars(row['horizon'])}: its {row['of']} is not shown to be better than that of "
            f"{row['against']} ({_p_value(row['p_value'])})."
        )
    weak = facts.slices.filter(pl.col("metric") == "accuracy", pl.col("lower") <= 0.5)
    for row in weak.iter_rows(named=True):
        yield (
            f"{_bars(row['horizon'])}, {row['slice']} {row['part']}: its direction is not told from chance "
            f"({_interval(row)})."
        )
    if 1 in manifest.horizons:
        yield "Part of the score over one bar is bid-ask bounce, which nobody can trade."
    yield (
        f"It abstains with fewer than {manifest.bars_needed} bars, after a hole of more than "
        f"{manifest.max_missing_bars} bars until they are there again, and where more than "
        f"{manifest.range_limit:.1%} of its features lie outside their training range."
    )


def refusals(facts: CardFacts) -> Iterator[str]:
    """What it must not be used for."""
    manifest, done = facts.manifest, facts.backtest["performance"]
    yield (
        f"On other symbols than {', '.join(manifest.symbols)}, other venues than {manifest.venue}, other "
        f"bars than {manifest.interval}, or over other horizons than {_listed(manifest.horizons)} bars: none "
        "was scored."
    )
    cost = facts.market.costs.rate * BASIS_POINTS
    breakeven = done["breakeven_cost_bps"]
    if not breakeven > cost:
        yield (
            f"To trade at this market's costs: they are {cost:.1f} bp a unit of turnover, and its forecasts "
            f"pay for {breakeven:.1f} bp."
        )
    yield "As advice on investments, or to decide without a person who answers for it."


def _by_metric(scores: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """One row a model or part, one column a metric."""
    shown = scores.filter(pl.col("metric").is_in(SHOWN_METRICS)).with_columns(
        cell=pl.format("{} [{}, {}]", *(pl.col(name).round(4) for name in ("value", "lower", "upper")))
    )
    counts = scores.group_by(keys, maintain_order=True).agg(pl.col("rows").max())
    wide = shown.pivot("metric", index=list(keys), values="cell", maintain_order=True)
    return counts.join(wide, on=list(keys), how="left", maintain_order="left")


def _with_interval(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    cell = pl.format("{} [{}, {}]", *(pl.col(part).round(4) for part in (name, "lower", "upper")))
    return frame.with_columns(cell.alias(name)).drop("lower", "upper")


def _table(frame: pl.DataFrame) -> str:
    lines = [list(frame.columns), ["---"] * frame.width]
    lines += [[_cell(value) for value in row] for row in frame.iter_rows()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return _time(value)
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _items(items: Mapping[str, str]) -> list[str]:
    return [f"- **{name}**: {text}" for name, text in items.items()]


def _p_value(p: float) -> str:
    return "its rows cannot tell" if math.isnan(p) else f"p {p:.3f}"


def _plain(value: object) -> str:
    return f"({', '.join(map(_plain, value))})" if isinstance(value, list | tuple) else _cell(value)


def _bars(count: int) -> str:
    return f"{count} bar{'' if count == 1 else 's'}"


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.4f} [{row['lower']:.4f}, {row['upper']:.4f}]"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
