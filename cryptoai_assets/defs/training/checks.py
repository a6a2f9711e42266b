"""Sentences that should be true of the rows that are trained on; where one is not, training stops."""

from collections.abc import Iterator

import dagster as dg

from cryptoai_assets.defs.features.recipes import feature_names
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.assets import training_dataset
from cryptoai_assets.lib.leaks import Finding, inputs_do_not_contain_the_label, splits_are_purged
from cryptoai_assets.lib.store import read_stored_parquet
from cryptoai_assets.lib.training import SMALL, known_dataset, training_splits

_MEANINGS = {
    "inputs_do_not_contain_the_label": "No input follows an outcome more closely than an honest one could.",
    "splits_are_purged": "Every training label of every fold, and of the version, ends before its test rows.",
}


@dg.multi_asset_check(
    name="rules_of_the_training_dataset",
    specs=[
        dg.AssetCheckSpec(name, asset=training_dataset, blocking=True, description=meaning)
        for name, meaning in _MEANINGS.items()
    ],
)
def rules_of_the_training_dataset(market: MarketResource) -> Iterator[dg.AssetCheckResult]:
    """Look for the future in the inputs, and in the splits that a small training makes of them."""
    settings = market.settings
    frame = read_stored_parquet(market.home.training_dataset)
    data = known_dataset(frame, feature_names(market), settings, market.now())
    splits = training_splits(data, settings, SMALL)
    findings = [
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
    yield from (_result(name, [found for found in findings if found.check == name]) for name in _MEANINGS)


def _result(name: str, findings: list[Finding]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=all(found.holds for found in findings),
        metadata={f"finding_{number}": found.sentence for number, found in enumerate(findings, start=1)},
    )
