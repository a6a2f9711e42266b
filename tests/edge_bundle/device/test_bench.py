"""What a device measures of itself: each step, its heat and its throttling, and nothing of it is kept."""

from itertools import count
from pathlib import Path

import pytest
from fakes.installed_device import BARS, SYMBOLS, installed_device, walked_bars, with_bars

from edge_bundle.device.bench import bench, slowed
from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.models import installed_model
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.errors import WindowRefusedError

ROUNDS = 3


@pytest.fixture
def settings(tmp_path: Path) -> DeviceSettings:
    return installed_device(tmp_path)


def test_each_step_is_measured_and_nothing_is_kept(settings: DeviceSettings, tmp_path: Path) -> None:
    database, seconds = with_bars(settings, walked_bars()), count()
    heat = tmp_path / "temp"
    heat.write_text("61250")
    done = bench(
        database,
        installed_model(settings).forecaster,
        rounds=ROUNDS,
        stopwatch=lambda: float(next(seconds)),
        thermal_zone=heat,
        throttled=tmp_path / "absent",
    )
    names = ("infer", "read-bars", "features-and-graph", "store-forecasts")
    assert done.milliseconds == dict.fromkeys(names, 1000.0)
    assert next(seconds) == 2 * ROUNDS * len(names)
    assert (done.celsius_before, done.celsius_after, done.slowed, done.abstained) == (61.25, 61.25, None, 0)
    assert done.peak_megabytes > 10
    assert database.forecasts(SYMBOLS[0], newest=10).is_empty()
    assert sorted(path.name for path in settings.home.iterdir() if path.is_dir()) == ["releases"]


def test_symbols_that_cannot_be_answered_are_counted(settings: DeviceSettings) -> None:
    database = with_bars(settings, walked_bars(BARS).head(5))
    assert bench(database, installed_model(settings).forecaster, rounds=1).abstained == 1


def test_device_without_bars_is_told_what_to_do(settings: DeviceSettings) -> None:
    with pytest.raises(WindowRefusedError, match="let harvest run first"):
        bench(DeviceDatabase(settings.database), installed_model(settings).forecaster, rounds=1)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("0", ()),
        (
            "50005",
            (
                "the voltage is too low now",
                "it is slowed down now",
                "the voltage was too low",
                "it was slowed down",
            ),
        ),
        ("80000", ("it was hot and slowed",)),
        ("no number", None),
    ],
)
def test_what_the_firmware_says_is_told_in_words(word: str, told: object, tmp_path: Path) -> None:
    (tmp_path / "get_throttled").write_text(f"{word}\n")
    assert slowed(tmp_path / "get_throttled") == told
