"""The model that the documentation adds in ten lines is searched, exported and scored as any other."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fakes.candidates import candidate_by_hand
from fakes.walk_rows import FEW_FEATURES, HORIZONS, rows_of_grid, walk_grid
from lightgbm import train

from cryptoai_assets.lib.candidate import bundle_folder, score_stretch
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.tree_heads import LightgbmHead, LightgbmSettings
from cryptoai_assets.lib.search import search_settings
from cryptoai_assets.lib.training import SMALL, training_splits
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
MARKET = market_preset("sample")


@pytest.fixture(scope="module")
def settings() -> Any:
    """Class of settings as the page writes it."""
    block = re.search(r"## Add one in ten lines.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block
    assert len(block[1].replace("\n\n", "\n").splitlines()) == 10
    names: Mapping[str, Any] = {
        "dataclass": dataclass,
        "ClassVar": ClassVar,
        "LightgbmSettings": LightgbmSettings,
        "LightgbmHead": LightgbmHead,
        "train": train,
    }
    made = dict(names)
    exec(compile(block[1], str(PAGE), "exec", dont_inherit=True), made)  # noqa: S102 — the page is the project's
    [added] = [made[name] for name in made if name not in (*names, "__builtins__")]
    return added


def test_added_model_is_searched_exported_and_scored(settings: Any, tmp_path: Path) -> None:
    grid = walk_grid(["BTCUSD"], bars=4600, seed=31)
    data = rows_of_grid(grid)
    work = replace(SMALL, threads=1, resamples=50)
    splits = training_splits(data, MARKET, work)
    found = search_settings(
        data.between(None, splits.folds[0].train_end),
        settings,
        horizon=2,
        trials=2,
        seed=1,
        after_trial=lambda _: None,
    )
    assert len(found.losses) == 2
    candidate = candidate_by_hand(
        tmp_path,
        data,
        splits,
        replace(found.settings, trees=20),
        MarketWindow(grid.select(list(CANDLE_SCHEMA))),
        market=MARKET,
        settings=work,
        as_of=datetime(2020, 6, 1, tzinfo=UTC),
    )
    assert candidate.kind == settings.kind
    forecaster = Forecaster.load(bundle_folder(tmp_path))
    result = score_stretch(forecaster, data, splits, market=MARKET, settings=work)
    assert {score.name for score in result.scores} >= {f"h{horizon}/accuracy" for horizon in HORIZONS}
    assert set(forecaster.manifest.features) <= set(FEW_FEATURES)
