"""No storm loses, doubles or reorders a bar: the tables end as those of calm weather."""

import secrets
from pathlib import Path

import polars as pl
import pytest
from storm.weather import Tables, Weather, known, stormy, tables_of, weathered

from cryptoai_assets.sandbox.faults import FaultPlan
from edge_bundle.candles import validated_candles

KILLS = 5  # a tenth of `make storm`


@pytest.mark.timeout(1200)
def test_tables_after_a_storm_with_kills_are_those_of_calm_weather(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"make storm SEED={seed}")
    hold_against_calm(tmp_path, seed, KILLS)


def hold_against_calm(folder: Path, seed: int, kills: int) -> Weather:
    """Weather a storm and a calm, and compare what is left of both."""
    calm, storm = folder / "calm", folder / "storm"
    weathered(calm, Weather(FaultPlan(seed)), kills=0)
    weather = weathered(storm, Weather(stormy(seed)), kills=kills)
    assert weather.killed >= kills <= weather.cut_off
    hold_equal(tables_of(calm), tables_of(storm))
    for moment, held in weather.held.items():
        assert known(storm, moment).equals(held), f"what was known at {moment} is told otherwise"
    assert list(storm.rglob("*.tmp")) == []
    return weather


def hold_equal(calm: Tables, storm: Tables) -> None:
    validated_candles(storm.candles, interval="1m")
    assert storm.candles.equals(calm.candles)
    both = calm.since.join(storm.since, on=["symbol", "open_time"], suffix="_storm")
    assert both.height == calm.candles.height
    assert both.filter(pl.col("known_at_storm") < pl.col("known_at")).is_empty()
    assert storm.gaps.equals(calm.gaps)
    assert calm.gaps["state"].unique().to_list() == ["not_to_be_had"]
