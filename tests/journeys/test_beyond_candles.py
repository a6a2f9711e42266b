"""A market whose setting adds features that read all symbols and facts: from its sources to its forecasts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fakes.archives import embedded_candles
from fakes.candidates import candidate_by_hand
from fakes.loopback_app import serving
from fakes.project_root import PROJECT

from cryptoai_assets.defs.features.recipes import feature_names, features_recipe
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.bundle_checks import bundle_checks
from cryptoai_assets.lib.canaries import canaries
from cryptoai_assets.lib.candidate import bundle_folder
from cryptoai_assets.lib.models.coupling import VOLATILITY_ANCHOR
from cryptoai_assets.lib.models.tree_heads import XgboostSettings
from cryptoai_assets.lib.monthly_features import stored_window
from cryptoai_assets.lib.store import read_stored_parquet
from cryptoai_assets.lib.training import SMALL, known_dataset, training_splits
from cryptoai_assets.sandbox.__main__ import sandbox_app
from cryptoai_assets.sandbox.market import SandboxMarket
from cryptoai_serving.bars import BarStore
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.candles import newest_bars
from edge_bundle.features.catalog import fingerprint, short_memory
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

NOW = datetime(2019, 7, 7, tzinfo=UTC)
BEYOND = ["context", "outside"]
MONTH, BTC, ETH = "2019-07", "BTCUSDT", "ETHUSDT"
MADE = ("raw_candles", "clean_candles", "features", "feature_audit", "training_dataset", "online_bars")
# Six days of facts are no range to speak of.
KNOWN = "outside_training_range"
# Makes what is stale of the simulated market in a process whose partitions are its own.
MAKE = """
import json, sys
import dagster as dg
from cryptoai_assets.defs.outside.recipes import RECIPES
from cryptoai_assets.defs.resources import configured_resource, MarketResource
from cryptoai_assets.demo import MaterializationError, materialize_stale, unanswered_lines

there = configured_resource()
market = MarketResource(
    name=there.name,
    root=there.root,
    sandbox=there.sandbox,
    beyond=there.beyond,
    addresses=json.loads(sys.argv[2]),
    time=sys.argv[1],
)
with dg.DagsterInstance.ephemeral() as instance:
    try:
        made = materialize_stale(instance, market, [*RECIPES, *sys.argv[3:]])
    except MaterializationError as error:
        sys.exit(str(error))
print("\\n".join(unanswered_lines(made, market)))
print(json.dumps({step.asset: step.partitions for step in made}))
"""


@pytest.fixture(scope="module")
def world() -> Iterator[str]:
    market = SandboxMarket(embedded_candles(), seed=1, start=NOW, speed=1, clock=lambda: NOW)
    with serving(sandbox_app(market, seed=1)) as server:
        yield server.http


@pytest.fixture(scope="module")
def market(world: str, tmp_path_factory: pytest.TempPathFactory) -> MarketResource:
    """Six days of two symbols, their facts, features and training set; never to be changed."""
    root = tmp_path_factory.mktemp("beyond")
    made = make(world, root)
    assert made["features"] == 6
    assert made["coin_metrics_facts"] == made["training_dataset"] == 1
    return MarketResource(name="sandbox", root=str(root), sandbox=world, beyond=BEYOND, time=NOW.isoformat())


def make(world: str, root: Path) -> dict[str, int]:
    run = begin(world, root, *MADE)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    made: dict[str, int] = json.loads(run.stdout.splitlines()[-1])
    return made


def begin(
    world: str, root: Path, *assets: str, beyond: Sequence[str] = BEYOND, away: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Make facts and assets in a process of its own, while some sources are away."""
    addresses = dict.fromkeys(away, f"{world}/nowhere")
    return subprocess.run(
        [sys.executable, "-c", MAKE, NOW.isoformat(), json.dumps(addresses), *assets],
        env={
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "CRYPTOAI_MARKET": "sandbox",
            "CRYPTOAI_SANDBOX": world,
            "CRYPTOAI_ROOT": str(root),
            "CRYPTOAI_BEYOND": ",".join(beyond),
        },
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def forecaster(market: MarketResource, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    home, folder = market.home, tmp_path_factory.mktemp("candidate")
    names = feature_names(market)
    data = known_dataset(read_stored_parquet(home.training_dataset), names, home.market, NOW)
    # What is certain to read all of it, whatever a training would choose.
    chosen = [*(name for name in names if name not in short_memory()), "log_return_1", VOLATILITY_ANCHOR]
    candidate_by_hand(
        folder,
        data.with_features(chosen),
        training_splits(data, home.market, SMALL),
        replace(XgboostSettings.start(), trees=40),
        stored_window(home, names),
        market=home.market,
        settings=SMALL,
        as_of=NOW,
    )
    return Forecaster.load(bundle_folder(folder))


def test_features_of_what_is_configured_join_the_training_set_and_the_fingerprint_says_so(
    market: MarketResource,
) -> None:
    names = feature_names(market)
    own = MarketResource(name="sandbox", root=market.root, sandbox=market.sandbox)
    plain = feature_names(own)
    assert plain == (*short_memory(), *(f"symbol_is_{symbol}" for symbol in own.settings.symbols))
    assert plain == names[: len(plain)]
    added = set(names) - set(plain)
    assert {"return_rank_60", "bitcoin_beta_60", "outside/VIXCLS/score"} < added
    assert not [name for name in added if name.startswith(("outside/vix/", "outside/search_interest"))]
    assert fingerprint(names) != fingerprint(plain) != fingerprint(short_memory())
    rows = read_stored_parquet(market.home.training_dataset)
    assert rows.filter(pl.all_horizontal(pl.col(names).is_not_null())).height > 0.8 * rows.height


def test_month_of_one_symbol_makes_its_followers_stale_and_nothing_else(market: MarketResource) -> None:
    def recipes(resource: MarketResource) -> dict[str, str]:
        keys = [
            f"{month}-01|{symbol}" for month in ("2019-07", "2019-08", "2019-09") for symbol in (BTC, ETH)
        ]
        return {key: features_recipe(resource, key).fingerprint() for key in keys}

    def changed_by(store: Any, *place: str) -> tuple[set[str], set[str]]:
        """Partitions that a change of a file makes stale, with the setting and without it."""
        before = recipes(market), recipes(own)
        frame = store.month(*place)
        store.write(*place, frame.tail(-1))
        after = recipes(market), recipes(own)
        store.write(*place, frame)
        assert (recipes(market), recipes(own)) == before
        found = [{key for key in was if was[key] != now[key]} for was, now in zip(before, after, strict=True)]
        return found[0], found[1]

    own = MarketResource(name="sandbox", root=market.root, sandbox=market.sandbox, time=NOW.isoformat())
    july = {f"2019-07-01|{symbol}" for symbol in (BTC, ETH)}
    august = {f"2019-08-01|{symbol}" for symbol in (BTC, ETH)}
    candles = market.stores.clean_candles
    assert changed_by(candles, ETH, MONTH) == (july | august, {f"2019-07-01|{ETH}", f"2019-08-01|{ETH}"})


def test_bundle_names_its_facts_passes_its_canaries_and_is_not_for_a_device(
    market: MarketResource, forecaster: Forecaster
) -> None:
    manifest, ages = forecaster.manifest, market.settings.greatest_age
    assert "VIXCLS" in manifest.facts
    assert manifest.facts == {name: ages[name].total_seconds() for name in manifest.facts}
    assert forecaster.selftest().passed
    every = stored_window(market.home, manifest.features)
    window = MarketWindow(newest_bars(every.candles, 4 * manifest.bars_needed), every.facts)
    assert [found for found in canaries(forecaster, window, seed=7) if not found.passed] == []
    checks = {check.name: check for check in bundle_checks(forecaster, for_devices=True)}
    assert not checks["candles_suffice"].passed
    assert "VIXCLS" in checks["candles_suffice"].detail
    assert "candles of BTCUSDT, ETHUSDT together" in checks["candles_suffice"].detail
    kept = bundle_checks(forecaster, for_devices=market.settings.for_devices)
    assert [check.name for check in kept if not check.passed] == []


def test_online_store_gives_the_forecast_of_the_whole_history(
    market: MarketResource, forecaster: Forecaster
) -> None:
    manifest = forecaster.manifest
    with BarStore(market.home.bars_database) as store:
        held = store.window(manifest.symbols, manifest.bars_needed)
        facts = store.facts(manifest.facts)
    window = MarketWindow(held.candles, pl.concat([held.facts, facts]))
    found = forecaster.forecast(window)
    assert [forecast.input_sha256 is None for forecast in found] == [False, False]
    assert found == forecaster.forecast(stored_window(market.home, manifest.features))


def test_what_is_absent_when_it_is_asked_is_abstained_on_by_name(
    market: MarketResource, forecaster: Forecaster
) -> None:
    window = stored_window(market.home, forecaster.manifest.features)

    def reasons(candles: pl.DataFrame, facts: pl.DataFrame) -> list[tuple[str, str]]:
        told = [forecast.abstention for forecast in forecaster.forecast(MarketWindow(candles, facts))]
        return [(found.reason, found.detail) for found in told if found and found.reason != KNOWN]

    [(reason, detail)] = reasons(window.candles.filter(symbol=BTC), window.facts)
    assert (reason, detail) == ("missing_facts", "bars of ETHUSDT are absent, with which BTCUSDT is compared")
    without = reasons(window.candles, window.facts.filter(pl.col("name") != "VIXCLS"))
    assert without == [("missing_facts", "facts that the bundle requires are absent: VIXCLS")] * 2
    old = window.facts.filter((pl.col("name") != "VIXCLS") | (pl.col("known_at") < NOW - timedelta(days=9)))
    for reason, detail in reasons(window.candles, old):
        assert reason == "missing_facts"
        assert detail.endswith("they read facts that are absent or too old: VIXCLS")
    late = window.candles.filter(
        (pl.col("symbol") == BTC) | (pl.col("open_time") < NOW - timedelta(minutes=1))
    )
    told = "the newest bar of ETHUSDT is of 23:58, one of 23:59 needed"
    assert reasons(late, window.facts) == [("stale_data", told)] * 2


def test_source_that_is_away_is_told_and_what_does_not_read_it_is_made(world: str, tmp_path: Path) -> None:
    run = begin(world, tmp_path, "raw_candles", beyond=(), away=["fred"])
    assert run.returncode == 0, run.stderr[-3000:]
    made = json.loads(run.stdout.splitlines()[-1])
    assert (made["fred_facts"], made["fear_greed_facts"], made["raw_candles"]) == (0, 1, 6)
    *_, told, follows, _ = run.stdout.splitlines()
    assert told.startswith("  fred_facts failed: simulated FRED answered")
    assert follows == "    no feature of this market reads its facts"
    [alert] = alerts_of(tmp_path)
    assert alert.cause.startswith("failed:")
    assert alert.facts[0][0] == "fred_facts"
    assert alert.facts[0][1] in told


def test_training_does_not_start_on_rows_that_lack_the_facts_of_a_source_that_is_away(
    world: str, tmp_path: Path
) -> None:
    assets = ("raw_candles", "clean_candles", "features", "training_dataset")
    run = begin(world, tmp_path, *assets, away=["fred"])
    assert run.returncode == 1
    assert "training_dataset: rows_have_their_facts" in run.stderr
    assert "rows lack VIXCLS, from 2019-07-0" in run.stdout
    assert "the newest one; see why its source does not answer" in run.stdout
    assert [alert.facts[0][0] for alert in alerts_of(tmp_path)] == ["fred_facts"]


def alerts_of(root: Path) -> list[Alert]:
    return Outbox(MarketResource(name="sandbox", root=str(root)).home.alerts_database).alerts()
