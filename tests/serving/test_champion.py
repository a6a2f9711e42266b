"""The champion's watch: a verified bundle swaps in, anything else stays out by name."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.hand_clock import HandClock
from fakes.releases import name_champion, release_tiny_bundle
from fakes.tiny_bundle import write_tiny_bundle

from cryptoai_serving.champion import ChampionWatch, refusal_alert
from cryptoai_serving.last_failure import RETRY_AFTER
from cryptoai_serving.signals import signals
from edge_bundle.explanation import LEAVES_NAME
from edge_bundle.forecast import Abstention
from edge_bundle.forecaster import GOLDEN_CANDLES_NAME
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, MANIFEST_NAME, Manifest, bundle_digest, file_sha256
from edge_bundle.releases import ReleasedVersion, channel_path, release_folder, stop_path
from edge_bundle.windows import MarketWindow

MODEL = "cryptoai-forecaster-sample"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def watch(tmp_path: Path, clock: HandClock) -> ChampionWatch:
    return ChampionWatch(root=tmp_path, model=MODEL, clock=clock)


def version(watch: ChampionWatch) -> int | None:
    return watch.current.released.version if watch.current else None


def test_nothing_is_served_before_a_release(watch: ChampionWatch) -> None:
    watch.refresh()
    assert watch.current is None
    assert watch.reason == f"no champion of {MODEL} is released"


@pytest.mark.parametrize("damaged", [GRAPH_NAME, MANIFEST_NAME, "channel"])
@pytest.mark.parametrize("damage", ["gone", "folder", "broken"])
def test_release_that_is_refused_is_named_as_it_lies_below_the_releases(
    watch: ChampionWatch, tmp_path: Path, damaged: str, damage: str
) -> None:
    folder = release_tiny_bundle(tmp_path, version=1, seed=1)
    file = channel_path(tmp_path, MODEL) if damaged == "channel" else folder / damaged
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage == "broken":
        file.write_text("{")
    watch.refresh()
    if (damaged, damage) == ("channel", "gone"):
        assert watch.refused is None
    else:
        assert watch.refused is not None
        assert str(tmp_path) not in watch.refused.reason
        assert file.name in watch.refused.reason


def test_new_champion_swaps_in_and_the_old_one_still_answers_whom_it_serves(
    watch: ChampionWatch, tmp_path: Path
) -> None:
    release_tiny_bundle(tmp_path, version=1, seed=1)
    watch.refresh()
    old = watch.current
    assert old is not None
    release_tiny_bundle(tmp_path, version=2, seed=2)
    assert version(watch) == 1
    watch.refresh()
    assert version(watch) == 2
    assert old.forecaster.selftest().passed


def test_same_champion_is_not_loaded_twice(watch: ChampionWatch, tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path, version=1, seed=1)
    watch.refresh()
    first = watch.current
    watch.refresh()
    assert watch.current is first


def test_rollback_swaps_back(watch: ChampionWatch, tmp_path: Path) -> None:
    first = release_tiny_bundle(tmp_path, version=1, seed=1)
    release_tiny_bundle(tmp_path, version=2, seed=2)
    watch.refresh()
    name_champion(tmp_path, MODEL, ReleasedVersion(1, bundle_digest(first)))
    watch.refresh()
    assert version(watch) == 1


def test_withdrawn_champion_answers_no_more(watch: ChampionWatch, tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path, version=1, seed=1)
    watch.refresh()
    name_champion(tmp_path, MODEL, None)
    watch.refresh()
    assert watch.current is None
    assert watch.refused is None


def test_bundle_with_a_changed_file_stays_out(watch: ChampionWatch, tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path, version=1, seed=1)
    watch.refresh()
    folder = release_tiny_bundle(tmp_path, version=2, seed=2)
    (folder / GRAPH_NAME).write_bytes((folder / GRAPH_NAME).read_bytes() + b"\0")
    watch.refresh()
    assert version(watch) == 1
    assert watch.refused is not None
    assert watch.refused.version == 2
    assert "model.onnx has SHA-256" in watch.refused.reason


def test_bundle_that_is_not_the_promised_one_stays_out(watch: ChampionWatch, tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path, version=1, seed=1)
    write_tiny_bundle(release_folder(tmp_path, MODEL, 1), seed=9)
    watch.refresh()
    assert watch.current is None
    assert "the channel promises" in watch.reason


def test_bundle_of_another_model_stays_out(watch: ChampionWatch, tmp_path: Path) -> None:
    folder = release_folder(tmp_path, MODEL, 1)
    write_tiny_bundle(folder, market="live", seed=1)
    name_champion(tmp_path, MODEL, ReleasedVersion(1, bundle_digest(folder)))
    watch.refresh()
    assert "of the model cryptoai-forecaster-live" in watch.reason


def test_bundle_that_answers_otherwise_than_its_golden_rows_stays_out(
    watch: ChampionWatch, tmp_path: Path
) -> None:
    folder = release_tiny_bundle(tmp_path, version=1, seed=1)
    with np.load(folder / GOLDEN_NAME) as archive:
        golden = dict(archive)
    golden["probability_up"] += 0.01
    np.savez(folder / GOLDEN_NAME, allow_pickle=False, **golden)
    manifest = Manifest.read(folder)
    files = {**manifest.files, GOLDEN_NAME: file_sha256(folder / GOLDEN_NAME)}
    replace(manifest, files=files).write(folder)
    name_champion(tmp_path, MODEL, ReleasedVersion(1, bundle_digest(folder)))
    watch.refresh()
    assert "fails its self-test" in watch.reason


@pytest.mark.parametrize("name", [GOLDEN_NAME, LEAVES_NAME])
def test_bundle_with_a_pickle_stays_out_and_nothing_in_it_runs(
    watch: ChampionWatch, tmp_path: Path, name: str
) -> None:
    folder = release_tiny_bundle(tmp_path, version=1, seed=1)
    ran = tmp_path / "ran"
    planted = np.array([Malicious(ran)], dtype=object)
    np.savez(folder / name, window=planted, parts=planted, allow_pickle=True)
    manifest = Manifest.read(folder)
    replace(manifest, files={**manifest.files, name: file_sha256(folder / name)}).write(folder)
    name_champion(tmp_path, MODEL, ReleasedVersion(1, bundle_digest(folder)))
    watch.refresh()
    assert watch.current is None
    assert watch.refused is not None
    assert not ran.exists()


@dataclass
class Malicious:
    """Whoever unpickles it creates a file."""

    path: Path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"schema_version": 7}',
        pytest.param('{"schema_version": 1, "\\ud800": {}}', id="half of a letter"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_channel_that_cannot_be_read_keeps_the_loaded_champion(
    watch: ChampionWatch, tmp_path: Path, content: str
) -> None:
    release_tiny_bundle(tmp_path, version=1, seed=1)
    watch.refresh()
    channel_path(tmp_path, MODEL).write_text(content)
    watch.refresh()
    assert version(watch) == 1
    assert watch.refused is not None
    assert watch.refused.version is None
    assert "promote or roll back again" in watch.refused.reason
    assert refusal_alert(watch.refused, model=MODEL, served=1).summary.encode()


def test_repaired_bundle_is_taken_after_a_while(
    watch: ChampionWatch, tmp_path: Path, clock: HandClock
) -> None:
    folder = release_tiny_bundle(tmp_path, version=1, seed=1)
    graph = (folder / GRAPH_NAME).read_bytes()
    (folder / GRAPH_NAME).unlink()
    watch.refresh()
    (folder / GRAPH_NAME).write_bytes(graph)
    watch.refresh()
    assert watch.current is None
    clock.now += RETRY_AFTER + timedelta(milliseconds=1)
    watch.refresh()
    assert version(watch) == 1
    assert watch.refused is None


def test_release_after_a_refused_one_is_taken_at_once(watch: ChampionWatch, tmp_path: Path) -> None:
    (release_tiny_bundle(tmp_path, version=1, seed=1) / GRAPH_NAME).unlink()
    watch.refresh()
    release_tiny_bundle(tmp_path, version=2, seed=2)
    watch.refresh()
    assert version(watch) == 2
    assert watch.refused is None


def stop(root: Path, content: str) -> None:
    stop_path(root, MODEL).write_text(content)


def test_version_that_is_stopped_abstains_until_it_is_not_or_another_answers(
    watch: ChampionWatch, tmp_path: Path
) -> None:
    folder = release_tiny_bundle(tmp_path, version=1, seed=1)
    window = MarketWindow(pl.read_parquet(folder / GOLDEN_CANDLES_NAME))
    stop(tmp_path, json.dumps({"version": 1, "reason": "below even odds"}))
    watch.refresh()
    first = watch.current
    assert first is not None
    for forecast in first.forecasts(window, None):
        assert forecast.abstention == Abstention("stopped", "below even odds")
        assert {horizon.probability_up for horizon in forecast.horizons} == {None}
        assert [signal.type for signal in signals(forecast, least_confidence=0.5, leak_alarm=None)] == [
            "HOLD"
        ] * len(forecast.horizons)
    stop_path(tmp_path, MODEL).unlink()
    watch.refresh()
    assert watch.current is not None
    assert {one.abstention for one in watch.current.forecasts(window, None)} == {None}
    stop(tmp_path, "not JSON")
    watch.refresh()
    assert watch.current is not None
    assert "stop.json cannot be read" in str(watch.current.stopped)
    stop(tmp_path, json.dumps({"version": 1, "reason": "below even odds"}))
    release_tiny_bundle(tmp_path, version=2, seed=2)
    watch.refresh()
    assert watch.current is not None
    assert (version(watch), watch.current.stopped) == (2, None)
