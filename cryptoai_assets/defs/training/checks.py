"""Sentences that should be true of the rows that are trained on; where one is not, training stops."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from cryptoai_assets.defs.features.recipes import feature_names
from cryptoai_assets.defs.materialization import table
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.assets import training_dataset
from cryptoai_assets.lib.leaks import Finding, inputs_do_not_contain_the_label, splits_are_purged
from cryptoai_assets.lib.outside_facts import rows_without_facts
from cryptoai_assets.lib.store import read_stored_parquet
from cryptoai_assets.lib.training import SMALL, known_dataset, training_splits

_MEANINGS = {
    "inputs_do_not_contain_the_label": "No input follows an outcome more closely than an honest one could.",
    "splits_are_purged": "Every training label of every fold, and of the version, ends before its test rows.",
}
_NOT_LOOKED_AT = "not looked at: nothing is trained on rows that lack a fact"
_FACTS = "rows_have_their_facts"
_SPECS = _MEANINGS | {_FACTS: "No newest row, and few rows before, lack an outside fact that features read."}


@dg.multi_asset_check(
    name="rules_of_the_training_dataset",
    specs=[
        dg.AssetCheckSpec(name, asset=training_dataset, blocking=True, description=meaning)
        for name, meaning in _SPECS.items()
    ],
)
def rules_of_the_training_dataset(
    context: dg.AssetCheckExecutionContext, market: MarketResource
) -> Iterator[dg.AssetCheckResult]:
    """Look for holes in the inputs, and for the future in them and in a small training's splits."""
    frame = read_stored_parquet(market.home.training_dataset)
    facts = _facts_result(rows_without_facts(frame, feature_names(market)), market.settings.max_missing_share)
    if facts.description:
        context.log.info(facts.description)
    yield facts
    blocked = not facts.passed and facts.severity is dg.AssetCheckSeverity.ERROR
    findings = (
        [Finding(name, True, _NOT_LOOKED_AT) for name in _MEANINGS] if blocked else _look(frame, market)
    )
    yield from (_result(name, [found for found in findings if found.check == name]) for name in _MEANINGS)


def _look(frame: pl.DataFrame, market: MarketResource) -> list[Finding]:
    """Look for the future in the inputs, and in the splits that a small training makes of them."""
    settings = market.settings
    data = known_dataset(frame, feature_names(market), settings, market.now())
    splits = training_splits(data, settings, SMALL)
    return [
        inputs_do_not_contain_the_label(data, horizons=settings.horizons),
        *(
            splits_are_purged(
                data.between(None, fold.train_end).keys["open_time"],
                data.between(fold.test_start, fold.test_end).keys["open_time"],
                horizon_bars=max(settings.horizons),
                bar=settings.bar,
            )
            for fold in (*splits.folds, splits.stretch)
        ),
    ]


def _facts_result(lacking: pl.DataFrame, most: float) -> dg.AssetCheckResult:
    """Stop the training where the newest rows lack a fact; a longer hole before them is a warning.

    Parameters
    ----------
    lacking
        From `rows_without_facts`.
    most
        Share of rows that may lack a fact before that is told.
    """
    at_the_end = lacking["newest"].any()
    told = "; ".join(
        f"{rows:,} rows lack {fact}, from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
        for fact, rows, first, last in lacking.select("fact", "rows", "first", "last").iter_rows()
    )
    cure = "see why its source does not answer, or take it out of the market's greatest_ages"
    return dg.AssetCheckResult(
        check_name=_FACTS,
        passed=not at_the_end and bool((lacking["share"] <= most).all()),
        severity=dg.AssetCheckSeverity.ERROR if at_the_end else dg.AssetCheckSeverity.WARN,
        description=f"{told}, the newest one; {cure}" if at_the_end else told or None,
        metadata={"rows_without_facts": table(lacking, lacking.height)},
    )


def _result(name: str, findings: list[Finding]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=all(found.holds for found in findings),
        metadata={f"finding_{number}": found.sentence for number, found in enumerate(findings, start=1)},
    )
