"""The market data in real Dagster runs: what is stored, what stops, what is redone, and by which commands."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from fakes.archives import archive, embedded_candles
from fakes.s3_server import s3_bucket
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.definitions import defs
from cryptoai_assets.defs.features.assets import features
from cryptoai_assets.defs.features.checks import features_ignore_later_bars
from cryptoai_assets.defs.market_data.assets import (
    OVERLAP_BARS,
    REPAIR_POLICY,
    candle_coverage,
    clean_candles,
    raw_candles,
    repaired_gaps,
)
from cryptoai_assets.defs.market_data.checks import (
    candles_are_complete,
    candles_are_fresh,
    candles_have_no_unexplained_gap,
    candles_keep_their_source,
    rules_of_clean_candles,
)
from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH, symbol_and_month, symbol_months
from cryptoai_assets.defs.market_data.recipes import RECIPES
from cryptoai_assets.defs.materialization import recorded_fingerprints
from cryptoai_assets.defs.monitoring.sensors import failed_checks_are_told
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.market import PRESETS
from cryptoai_assets.lib.market_data import known_candles
from cryptoai_assets.lib.market_month import MarketMonth
from cryptoai_assets.lib.planner import out_of_date, together
from cryptoai_assets.lib.quality import SENTENCES
from cryptoai_assets.lib.sources.archive import ArchiveSource
from cryptoai_assets.lib.sources.candle_source import Fetched, SourceRefusedError
from cryptoai_assets.lib.sources.fallback import FallbackSource
from edge_bundle.alerts import Outbox
from edge_bundle.candles import validated_candles
from edge_bundle.facts import no_trade_slots

PROJECT = Path(__file__).parents[2]
# Loaded once, while no instance of another test is around.
WHOLE = defs()
ROOM = [
    raw_candles,
    repaired_gaps,
    clean_candles,
    candle_coverage,
    rules_of_clean_candles,
    candles_are_complete,
    candles_have_no_unexplained_gap,
]
GRAIN = {"raw_candles", "repaired_gaps", "clean_candles", "candle_coverage"}
CHAIN = dg.AssetSelection.assets("raw_candles", "clean_candles", "features")
KEYS = SYMBOL_MONTH.get_partition_keys()
BTC, LTC = "2018-10-01|BTCUSD", "2018-10-01|LTCUSD"


@dg.asset(partitions_def=SYMBOL_MONTH, backfill_policy=dg.BackfillPolicy.single_run(), deps=[clean_candles])
def reader_of_candles() -> None:
    """Stands for whatever is downstream."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def market(tmp_path: Path) -> MarketResource:
    return MarketResource(name="sample", root=str(tmp_path))


def test_coverage_of_an_empty_store_says_what_to_do(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(dg.Failure, match="materialize clean_candles"):
        dg.materialize([candle_coverage], resources={"market": market}, instance=instance)


def run(
    instance: dg.DagsterInstance,
    market: MarketResource,
    first: str,
    last: str = "",
    *,
    selection: dg.AssetSelection | None = None,
) -> dg.ExecuteInProcessResult:
    span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
    return dg.materialize(
        [*ROOM, reader_of_candles],
        selection=selection or dg.AssetSelection.all() - dg.AssetSelection.assets(candle_coverage),
        resources={"market": market},
        instance=instance,
        tags=span if last else None,
        partition_key=None if last else first or None,
        raise_on_error=False,
    )


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


def shown(rows: dg.MetadataValue[Any]) -> list[dict[str, Any]]:
    assert isinstance(rows, dg.TableMetadataValue)
    return [dict(record.data) for record in rows.records]


def test_month_is_stored_with_its_facts_and_shown(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    result = run(instance, market, LTC)
    assert result.success
    assert materialized(result) == {*GRAIN, "reader_of_candles"} - {"candle_coverage"}
    candles = market.stores.clean_candles.month("LTCUSD", "2018-10")
    validated_candles(candles, interval="30m")
    [event] = result.asset_materializations_for_node("clean_candles")
    assert event.metadata["dagster/row_count"].value == candles.height == 31 * 48 - 4
    assert shown(event.metadata["preview"])[0]["open_time"] == "2018-10-01 00:00"
    assert no_trade_slots(market.stores.clean_facts.month("LTCUSD", "2018-10")).height == 3
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == event.metadata["cryptoai/content_sha256"].value


def test_missing_bars_are_listed_and_warn_but_stop_nothing(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    found = evaluations(run(instance, market, LTC))
    assert set(found) == {*SENTENCES, "candles_are_complete", "candles_have_no_unexplained_gap"}
    gap = found.pop("candles_have_no_unexplained_gap")
    assert all(evaluation.passed for evaluation in found.values())
    assert (gap.passed, gap.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (gap.metadata["missing_bars"].value, gap.metadata["no_trade_bars"].value) == (1, 3)
    listed = shown(gap.metadata["gaps"])
    assert [(gap["kind"], gap["from"], gap["bars"]) for gap in listed] == [
        ("missing", "2018-10-04 09:00", "1"),
        ("no_trade", "2018-10-04 08:30", "1"),
        ("no_trade", "2018-10-04 09:30", "2"),
    ]


def test_month_of_which_too_much_is_missing_is_told_as_a_failure_and_stops_nothing(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A collector that wrote 200 bars of every 1,000, as one really did."""
    candles = embedded_candles().filter(pl.int_range(pl.len()).over("symbol") % 1000 < 200)
    market = tolerant(tmp_path, candles)
    result = run(instance, market, "2018-10-01|BTCUSD")
    assert result.success
    complete = evaluations(result)["candles_are_complete"]
    assert (complete.passed, complete.severity) == (False, dg.AssetCheckSeverity.ERROR)
    told = dg.build_sensor_context(
        instance=instance, resources={"market": market, "alerts": AlertsResource()}
    )
    failed_checks_are_told(told)
    [alert] = Outbox(market.home.alerts_database).alerts()
    assert [what for what, _ in alert.facts] == ["clean_candles: candles_are_complete of 2018-10-01|BTCUSD"]
    stores = market.stores
    quiet = no_trade_slots(stores.clean_facts.month("BTCUSD", "2018-10")).height
    missing = 31 * 48 - stores.clean_candles.month("BTCUSD", "2018-10").height - quiet
    assert complete.metadata["missing_bars"].value == missing > 1_000
    gaps = market.gaps.current(["BTCUSD"], interval="30m")
    assert int(((gaps["to"] - gaps["from"]) / timedelta(minutes=30) + 1).sum()) == missing
    assert gaps["state"].unique().to_list() == ["open"]


def test_coverage_is_a_table_a_plot_and_the_gaps_by_state(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    assert run(instance, market, LTC).success
    result = run(instance, market, "", selection=dg.AssetSelection.assets(candle_coverage))
    [event] = result.asset_materializations_for_node("candle_coverage")
    assert shown(event.metadata["preview"]) == [
        {
            "symbol": "LTCUSD",
            "month": "2018-10",
            "due": "1488",
            "present": "1484",
            "no_trade": "3",
            "missing": "1",
        }
    ]
    assert shown(event.metadata["gaps_by_state"]) == [{"state": "open", "runs": "1"}]
    assert str(event.metadata["coverage"].value).startswith("![](data:image/png;base64,")


def test_real_candles_break_no_rule_of_plausibility(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    october = [key for key in KEYS if key.startswith("2018-10")]
    result = run(instance, market, october[0], october[-1])
    for event in result.asset_materializations_for_node("clean_candles"):
        assert event.metadata["rows_by_finding"].value == {"exact_copy": 0, "out_of_order": 0}


def spoiled(folder: Path, sentence: str) -> Path:
    """Write the archive with one faulty row more, which speaks against one sentence."""
    candles = embedded_candles()
    chosen = candles.filter(
        pl.col("symbol") == "BTCUSD", pl.col("open_time") == datetime(2018, 10, 9, tzinfo=UTC)
    )
    faulty = {
        "candles_are_unique": chosen.with_columns(volume=pl.col("volume") + 1),
        "candles_are_on_the_grid": chosen.with_columns(pl.col("open_time").dt.offset_by("1s")),
        "prices_are_consistent": chosen.with_columns(
            pl.col("open_time").dt.offset_by("30m"), high=pl.col("low") / 2
        ),
        "bars_are_plausible": chosen.with_columns(pl.col("open", "high", "low", "close") * 10),
    }[sentence]
    kept = candles.join(faulty, on=["symbol", "open_time"], how="anti")
    if sentence == "candles_are_unique":
        kept = candles
    return archive(folder, pl.concat([kept, faulty]))


@pytest.mark.parametrize(
    "sentence",
    ["candles_are_unique", "candles_are_on_the_grid", "prices_are_consistent", "bars_are_plausible"],
)
def test_faulty_row_stops_what_is_downstream_and_can_be_read(
    instance: dg.DagsterInstance, tmp_path: Path, sentence: str
) -> None:
    market = MarketResource(name="sample", root=str(tmp_path), archive=str(spoiled(tmp_path, sentence)))
    result = run(instance, market, BTC)
    assert not result.success
    assert materialized(result) == GRAIN - {"candle_coverage"}
    broken = {
        name: found for name, found in evaluations(result).items() if name in SENTENCES and not found.passed
    }
    assert set(broken) == {sentence}
    assert broken[sentence].severity == dg.AssetCheckSeverity.ERROR
    first = shown(broken[sentence].metadata["rows"])[0]
    assert first["symbol"] == "BTCUSD"
    assert str(first["open_time"]).startswith("2018-10-09")
    rejected = market.stores.quarantine.month("BTCUSD", "2018-10")
    assert rejected.height == (2 if sentence == "candles_are_unique" else 1)
    assert run(instance, market, LTC).success  # another partition is not concerned


def tolerant(folder: Path, candles: pl.DataFrame) -> MarketResource:
    """The sample's market, read from an archive, in which one row of a hundred may be bad."""
    (folder / "markets").mkdir()
    settings = 'preset = "sample"\nsource = "archive"\nmax_rejected_share = 0.01\n'
    (folder / "markets" / "tolerant.toml").write_text(settings)
    return MarketResource(name="tolerant", root=str(folder), archive=str(archive(folder, candles)))


def in_october(candles: pl.DataFrame, *places: int) -> pl.Expr:
    """Rows of bitcoin in October 2018, by their place in the month."""
    own = candles.filter(pl.col("symbol") == "BTCUSD", pl.col("open_time").dt.strftime("%Y-%m") == "2018-10")[
        "open_time"
    ]
    return (pl.col("symbol") == "BTCUSD") & pl.col("open_time").is_in(own.gather(places).implode())


def swapped(candles: pl.DataFrame, *places: int) -> pl.DataFrame:
    """Quote volume in the place of base volume."""
    turned = pl.col("volume") * pl.col("close")
    here = in_october(candles, *places)
    return candles.with_columns(volume=pl.when(here).then(turned).otherwise("volume"))


@pytest.mark.parametrize(("bad_rows", "goes_on"), [(14, True), (15, False)])
def test_bad_rows_are_set_aside_and_the_rest_goes_on_below_the_share_of_the_setting(
    instance: dg.DagsterInstance, tmp_path: Path, bad_rows: int, goes_on: bool
) -> None:
    candles = embedded_candles()
    places = range(100, 100 + bad_rows)
    market = tolerant(tmp_path, swapped(candles, *places).reverse())
    result = run(instance, market, BTC)
    assert result.success == goes_on
    assert ("reader_of_candles" in materialized(result)) == goes_on
    [event] = result.asset_materializations_for_node("clean_candles")
    found = event.metadata["rows_by_finding"].value
    assert found == {
        "base_and_quote_volume_swapped": bad_rows,
        "exact_copy": 0,
        "out_of_order": 31 * 48 - 2,  # newest first; one bar is absent
    }
    broken = evaluations(result)["bars_are_plausible"]
    assert (broken.passed, broken.severity) == (
        False,
        dg.AssetCheckSeverity.WARN if goes_on else dg.AssetCheckSeverity.ERROR,
    )
    kept = candles.filter(
        ~in_october(candles, *places),
        pl.col("symbol") == "BTCUSD",
        pl.col("open_time").dt.strftime("%Y-%m") == "2018-10",
    )
    assert market.stores.clean_candles.month("BTCUSD", "2018-10").equals(kept)


def test_month_is_stale_when_the_end_of_the_one_before_it_changes(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    assert run(instance, market, "2018-09-01|BTCUSD").success
    assert run(instance, market, BTC).success
    raw = market.stores.raw_candles
    raw.write("BTCUSD", "2018-09", raw.month("BTCUSD", "2018-09").head(-1))
    assert stale(instance, market, "clean_candles", [BTC]) == [BTC]


def test_archive_that_is_not_named_is_asked_for(tmp_path: Path) -> None:
    market = tolerant(tmp_path, embedded_candles().head(1)).model_copy(update={"archive": None})
    with pytest.raises(SourceRefusedError, match="name it with CRYPTOAI_ARCHIVE"):
        market.source()


def test_source_mended_afterwards_empties_the_quarantine(
    instance: dg.DagsterInstance, market: MarketResource, tmp_path: Path
) -> None:
    faulty = spoiled(tmp_path, "prices_are_consistent")
    bad = MarketResource(name="sample", root=str(tmp_path), archive=str(faulty))
    assert not run(instance, bad, BTC).success
    assert run(instance, market, BTC).success
    assert market.stores.quarantine.month("BTCUSD", "2018-10").is_empty()


def test_stored_rows_that_were_tampered_with_are_caught(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    assert run(instance, market, BTC).success
    stored = market.stores.clean_candles.month("BTCUSD", "2018-10")
    market.stores.clean_candles.write("BTCUSD", "2018-10", stored.reverse())
    result = dg.materialize(
        ROOM,
        selection=dg.AssetSelection.checks_for_assets(clean_candles),
        resources={"market": market},
        instance=instance,
        raise_on_error=False,
    )
    assert not result.success
    broken = {name for name, found in evaluations(result).items() if not found.passed}
    assert broken == {"candles_are_sorted", "candles_have_no_unexplained_gap"}


def stale(instance: dg.DagsterInstance, market: MarketResource, asset: str, keys: Sequence[str]) -> list[str]:
    recipes = {key: RECIPES[asset](market, key) for key in keys}
    return out_of_date(recipes, recorded_fingerprints(instance, asset))


def test_nothing_is_stale_after_a_run_and_a_touched_month_makes_its_descendant_stale(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    october = [key for key in KEYS if key.startswith("2018-10")]
    assert stale(instance, market, "raw_candles", october) == october
    assert run(instance, market, october[0], october[-1]).success
    assert [stale(instance, market, asset, october) for asset in RECIPES] == [[], []]
    raw = market.stores.raw_candles
    raw.write("BTCUSD", "2018-10", raw.month("BTCUSD", "2018-10").head(100))
    assert [stale(instance, market, asset, october) for asset in RECIPES] == [[], [BTC]]
    assert run(instance, market, BTC, selection=dg.AssetSelection.assets(clean_candles)).success
    assert [stale(instance, market, asset, october) for asset in RECIPES] == [[], []]


def test_what_a_failed_run_made_is_stale(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    faulty = spoiled(tmp_path, "prices_are_consistent")
    market = MarketResource(name="sample", root=str(tmp_path), archive=str(faulty))
    assert not run(instance, market, BTC).success
    assert stale(instance, market, "clean_candles", [BTC]) == [BTC]


def test_month_that_grows_is_stale_with_the_next_bar(tmp_path: Path) -> None:
    def fingerprint(time: str) -> str:
        live = MarketResource(name="live", root=str(tmp_path), time=time)
        return RECIPES["raw_candles"](live, "2026-02-01|BTCUSDT").fingerprint()

    assert fingerprint("2026-02-03T04:05:01+00:00") == fingerprint("2026-02-03T04:05:59+00:00")
    assert fingerprint("2026-02-03T04:05:01+00:00") != fingerprint("2026-02-03T04:06:00+00:00")
    assert fingerprint("2026-03-03T04:05:01+00:00") == fingerprint("2026-04-03T04:06:00+00:00")


def test_market_without_an_end_has_the_running_month() -> None:
    keys = symbol_months(PRESETS["live"]).get_partition_keys(current_time=datetime(2026, 3, 2, tzinfo=UTC))
    assert keys[-1] == "2026-03-01|ETHUSDT"
    assert symbol_and_month(keys[-1]) == ("ETHUSDT", "2026-03")


def test_month_that_the_history_leaves_unfinished_is_one_too() -> None:
    ends = {date(2019, 9, 2): "2019-09", date(2019, 9, 1): "2019-08", date(2019, 10, 1): "2019-09"}
    for end, last in ends.items():
        keys = symbol_months(replace(PRESETS["sample"], history_end=end)).get_partition_keys()
        assert keys[-1] == f"{last}-01|XRPUSD"


def test_whole_sample_backfills_in_one_run_on_a_real_instance(market: MarketResource) -> None:
    with dg.DagsterInstance.local_temp(overrides={"telemetry": {"enabled": False}}) as instance:
        [(first, last)] = together(KEYS, KEYS)
        result = run(instance, market, first, last)
        assert result.success
        assert len(result.asset_materializations_for_node("clean_candles")) == len(KEYS) == 120
        assert [stale(instance, market, asset, KEYS) for asset in RECIPES] == [[], []]
    candles = market.stores.clean_candles.read(PRESETS["sample"].symbols)
    end = datetime(2019, 10, 1, tzinfo=UTC)
    assert candles.equals(embedded_candles().filter(pl.col("open_time") < end))
    gap = evaluations(result)["candles_have_no_unexplained_gap"]
    assert (gap.metadata["missing_bars"].value, gap.metadata["no_trade_bars"].value) == (95, 105)


def test_definitions_load_with_the_room_and_one_process_for_every_job() -> None:
    assert {key.to_user_string() for key in WHOLE.resolve_asset_graph().get_all_asset_keys()} >= set(RECIPES)
    assert WHOLE.executor is dg.in_process_executor
    for name in RECIPES:
        assets = WHOLE.resolve_assets_def(name)
        assert assets.backfill_policy == dg.BackfillPolicy.single_run()
        assert assets.descriptions_by_key[dg.AssetKey(name)].startswith("One row per symbol and closed bar")


def test_month_of_all_symbols_is_made_from_the_command_line_without_dagster_home(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dagster", "asset", "materialize", "-m", "cryptoai_assets.definitions"),
            *("--select", "raw_candles,clean_candles"),
            *("--partition-range", "2019-09-01|BTCUSD...2019-09-01|XRPUSD"),
        ],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    stored = sorted((tmp_path / "data" / "sample" / "clean_candles").glob("*/*.parquet"))
    assert [path.parent.name for path in stored] == list(PRESETS["sample"].symbols)
    assert (tmp_path / ".dagster" / "storage").is_dir()


def test_whole_chain_on_s3_is_the_one_on_disk(
    instance: dg.DagsterInstance, market: MarketResource, tmp_path: Path
) -> None:
    room = [*ROOM, features, features_ignore_later_bars]

    def made(place: MarketResource) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            room, resources={"market": place}, instance=instance, partition_key=LTC, selection=CHAIN
        )

    with s3_bucket() as bucket:
        away = MarketResource(
            name="sample",
            root=str(tmp_path / "elsewhere"),
            store=f"s3://{bucket.key}/tables",
            s3_endpoint=bucket.settings.endpoint,
        )
        assert made(market).success
        assert made(away).success
        here, there = market.home, away.home
        for own, other in (
            (here.stores.raw_candles, there.stores.raw_candles),
            (here.stores.clean_candles, there.stores.clean_candles),
            (here.stores.clean_facts, there.stores.clean_facts),
            (here.features, there.features),
        ):
            assert own.month("LTCUSD", "2018-10").equals(other.month("LTCUSD", "2018-10"))
            assert str(other.root).startswith(f"s3://{bucket.key}/tables/sample/")
        assert here.features.month("LTCUSD", "2018-10").drop_nulls().height > 0
        assert (
            market.gaps.history(["LTCUSD"])
            .drop("known_at")
            .equals(away.gaps.history(["LTCUSD"]).drop("known_at"))
        )
        assert [stale(instance, away, asset, [LTC]) for asset in RECIPES] == [[], []]
        assert not (tmp_path / "elsewhere").exists()


def judged(market: MarketResource, check: dg.AssetChecksDefinition) -> dg.AssetCheckEvaluation:
    result = dg.materialize(
        [clean_candles, check], selection=dg.AssetSelection.checks(check), resources={"market": market}
    )
    [found] = evaluations(result).values()
    return found


class Away:
    """A venue that gives nothing."""

    name = "Binance.US"

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        raise SourceRefusedError(f"{symbol} is not given from {start} to {end}")


def test_symbol_that_another_source_gives_is_an_error_at_once_and_named(tmp_path: Path) -> None:
    market = MarketResource(name="live", root=str(tmp_path), time="2026-03-31T12:00:00+00:00")
    own, now = market.source().name, market.now()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        candles = walk_candles(
            [symbol], bars=120, interval="1m", seed=1, start=now - 120 * market.settings.bar
        )
        place = MarketMonth(market.settings, market.stores, market.gaps, symbol, "2026-03")
        for hour, name in ((0, own), (1, own if symbol == "BTCUSDT" else "CoinGecko")):
            part = candles[60 * hour : 60 * (hour + 1)]
            source = ArchiveSource(archive(tmp_path / f"{symbol}{hour}", part), "1m", name)
            asked = source if name == own else FallbackSource((Away(), source), market.now)
            place.take(asked, overlap_bars=0, now=now - (1 - hour) * timedelta(hours=1))
            place.clean()
        if symbol == "BTCUSDT":
            assert judged(market, candles_keep_their_source).passed
    found = judged(market, candles_keep_their_source)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert f"100% of the bars of ETHUSDT in 1 h are of CoinGecko, not of {own}" in str(found.description)
    assert "BTCUSDT" not in str(found.description)


def test_three_hours_without_the_venue_are_its_own_after_the_next_repair(tmp_path: Path) -> None:
    market = MarketResource(name="live", root=str(tmp_path), time="2026-03-31T12:00:00+00:00")
    now, hour, bar = market.now(), timedelta(hours=1), market.settings.bar
    candles = walk_candles(["BTCUSDT"], bars=8 * 60, interval="1m", seed=1, start=now - 8 * hour)
    elsewhere = candles.with_columns(pl.col("open", "high", "low", "close") * 1.002, volume=pl.lit(0.0))
    own, other = (
        ArchiveSource(archive(tmp_path / name, bars), "1m", name)
        for name, bars in ((market.source().name, candles), ("device files", elsewhere))
    )
    place = MarketMonth(market.settings, market.stores, market.gaps, "BTCUSDT", "2026-03")

    def latest(known_by: datetime | None = None) -> pl.DataFrame:
        tables = (
            table.month("BTCUSDT", "2026-03")
            for table in (place.stores.clean_candles, place.stores.clean_facts)
        )
        return known_candles(*tables, interval="1m", known_by=known_by)

    for venue, then in ((own, now - 6 * hour), (Away(), now - 3 * hour), (own, now)):
        place.take(
            FallbackSource((venue, other), lambda then=then: then), overlap_bars=OVERLAP_BARS, now=then
        )
        place.clean()
        place.find_gaps(now=then)
    assert not judged(market, candles_keep_their_source).passed
    as_known = latest(known_by=now - bar)
    assert (as_known["volume"] == 0).sum() == 3 * 60
    place.repair(own, None, REPAIR_POLICY, now=now)
    place.clean()
    assert judged(market, candles_keep_their_source).passed
    assert latest().equals(candles)
    assert latest(known_by=now - bar).equals(as_known)


@pytest.mark.parametrize(("late", "passed"), [(0, True), (1, True), (15, True), (16, False), (90, False)])
def test_bars_that_stay_away_for_a_quarter_of_an_hour_are_an_error(
    late: int, passed: bool, tmp_path: Path
) -> None:
    market = MarketResource(name="live", root=str(tmp_path), time="2026-03-31T12:00:00+00:00")
    minute, now = market.settings.bar, market.now()
    assert judged(market, candles_are_fresh).passed
    for symbol, missing in (("BTCUSDT", 0), ("ETHUSDT", late)):
        start = now - (120 + missing) * minute
        candles = walk_candles([symbol], bars=120, interval="1m", seed=1, start=start)
        source = ArchiveSource(archive(tmp_path / symbol, candles), "1m", "venue")
        place = MarketMonth(market.settings, market.stores, market.gaps, symbol, "2026-03")
        place.take(source, overlap_bars=0, now=now)
        place.clean()
    found = judged(market, candles_are_fresh)
    assert (found.passed, found.severity) == (passed, dg.AssetCheckSeverity.ERROR)
    assert passed or f"{late} bars of ETHUSDT since" in str(found.description)
    assert "BTCUSDT" not in str(found.description)
