"""What is not well with a device is told, with what to do, and what is well is left in peace."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.installed_device import CLOSED, SYMBOLS, installed_device, walked_bars, with_bars

from edge_bundle.device.database import DeviceDatabase, ran_well
from edge_bundle.device.health import (
    HOT_CELSIUS,
    LEAST_FREE_BYTES,
    Finding,
    Reading,
    cool_enough,
    examined,
    room_enough,
    standing,
)
from edge_bundle.device.settings import DeviceSettings

MINUTE = timedelta(minutes=1)


@pytest.fixture
def settings(tmp_path: Path) -> DeviceSettings:
    return installed_device(tmp_path)


def sick(findings: Iterable[Finding]) -> set[str]:
    return {found.subject for found in findings if not found.well}


def test_bars_that_have_grown_old_are_told_by_symbol(settings: DeviceSettings) -> None:
    bars = walked_bars()
    with_bars(settings, bars.filter((bars["symbol"] == SYMBOLS[0]) | (bars["open_time"] < CLOSED - MINUTE)))
    late = [sick(examined(settings, now=CLOSED + minutes * MINUTE)) for minutes in (2, 3, 4)]
    old = [{subject for subject in subjects if subject.startswith("bars")} for subjects in late]
    assert old == [set(), {f"bars of {SYMBOLS[1]}"}, {f"bars of {symbol}" for symbol in SYMBOLS}]


def test_program_is_late_only_after_it_ran_once(settings: DeviceSettings) -> None:
    database = DeviceDatabase(settings.database)
    assert sick(standing(settings, database, CLOSED)) == set()
    for program in ("harvest", "infer", "news"):
        database.mark(ran_well(program), "done", now=CLOSED)
    read = replace(settings, news_feeds=("https://n.test/rss",))
    for minutes, late in ((4, set()), (6, {"harvest"}), (16, {"harvest", "infer"})):
        assert sick(standing(read, database, CLOSED + minutes * MINUTE)) == late
    assert "news" in sick(standing(read, database, CLOSED + 61 * MINUTE))
    assert "news" not in sick(standing(settings, database, CLOSED + 61 * MINUTE))


def test_heat_and_a_full_disk_are_told() -> None:
    well = Reading(HOT_CELSIUS - 0.1, 0.1, LEAST_FREE_BYTES)
    assert cool_enough(well).well
    assert cool_enough(replace(well, temperature_celsius=None)).well
    assert not cool_enough(replace(well, temperature_celsius=HOT_CELSIUS)).well
    assert room_enough(well).well
    assert not room_enough(replace(well, free_bytes=LEAST_FREE_BYTES - 1)).well
