"""A device takes what its platform has signed, and what does not run here is never run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.binance_server import binance_server
from fakes.installed_device import MODEL, SYMBOLS, installed_device, settings_file
from fakes.project_root import PROJECT
from fakes.release_platform import ReleasePlatform, platform_service
from fakes.releases import name_champion
from fakes.tiny_bundle import give_graph

from cryptoai_assets.lib.release_signing import ReleaseSigner
from edge_bundle.device.__main__ import main
from edge_bundle.device.database import DeviceDatabase, ran_well
from edge_bundle.device.infer import PROGRAM as INFER
from edge_bundle.device.update import MOST_FAILURES, PROBATION, Updater, stopped, trusted_keys
from edge_bundle.device.web import NoAnswerError, Web
from edge_bundle.errors import EdgeBundleError, ReleaseRefusedError
from edge_bundle.forecast import Abstention, Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME, bundle_digest
from edge_bundle.releases import ReleasedVersion, read_channel, release_folder
from edge_bundle.stop_orders import GREATEST_AGE, StopOrder, stop_order_path

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RUN = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.update import Updater, trusted_keys
from edge_bundle.device.web import Web
folder, url, model = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
updater = Updater(DeviceDatabase(folder / "device.db"), Web("platform", url), folder / "releases", model,
                  trusted_keys(folder / "keys"))
print("begun", flush=True)
print(updater.run(datetime.now(UTC)), flush=True)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("platform")
    with platform_service(folder) as url:
        yield folder, url


@pytest.fixture
def platform(served: tuple[Path, str]) -> ReleasePlatform:
    folder, url = served
    shutil.rmtree(folder / "releases", ignore_errors=True)
    return ReleasePlatform(folder, url)


@pytest.fixture
def device(platform: ReleasePlatform, tmp_path: Path) -> Updater:
    web = Web("platform", platform.url)
    trusted = trusted_keys(platform.give_key(tmp_path / "keys"))
    return Updater(DeviceDatabase(tmp_path / "device.db"), web, tmp_path / "releases", MODEL, trusted)


def installed(device: Updater) -> int | None:
    """Version that the device runs; its bundle loads."""
    channel = read_channel(device.releases, MODEL)
    if channel is None or channel.champion is None:
        return None
    folder = release_folder(device.releases, MODEL, channel.champion.version)
    assert Forecaster.load(folder).digest == channel.champion.sha256
    return channel.champion.version


def test_signed_champion_is_installed_once(platform: ReleasePlatform, device: Updater) -> None:
    platform.release(1, seed=1, at=NOW)
    assert device.run(NOW) == "version 1 runs from now on"
    assert installed(device) == 1
    assert device.run(NOW) == "version 1 is the newest"
    platform.release(2, seed=2, at=NOW + MINUTE)
    assert device.run(NOW) == "version 2 runs from now on"
    assert installed(device) == 2
    assert sorted(path.name for path in (device.releases / MODEL / "versions").iterdir()) == ["1", "2"]


def test_bundle_is_the_platforms_byte_for_byte(platform: ReleasePlatform, device: Updater) -> None:
    platform.release(1, seed=1, at=NOW)
    device.run(NOW)
    theirs, ours = (release_folder(root, MODEL, 1) for root in (platform.root, device.releases))
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == {
        path.name: path.read_bytes() for path in ours.iterdir()
    }


def test_platforms_rollback_is_a_newer_release_and_a_replayed_one_is_older(
    platform: ReleasePlatform, device: Updater
) -> None:
    old = platform.release(1, seed=1, at=NOW)
    device.run(NOW)
    platform.release(2, seed=2, at=NOW + MINUTE)
    device.run(NOW)
    name_champion(platform.root, MODEL, old)  # what somebody in between would send again
    with pytest.raises(ReleaseRefusedError, match="older release"):
        device.run(NOW)
    assert installed(device) == 2
    platform.name(replace(old, signature=None), at=NOW + 2 * MINUTE)
    assert device.run(NOW) == "version 1 runs from now on"
    assert installed(device) == 1


@pytest.mark.parametrize("forged", ["unsigned", "other key", "other version", "other bytes", "nonsense"])
def test_what_is_not_signed_by_the_platform_is_refused_before_a_byte_of_it_is_fetched(
    forged: str, platform: ReleasePlatform, device: Updater, tmp_path: Path
) -> None:
    platform.release(1, seed=1, at=NOW)
    device.run(NOW)
    true = platform.release(2, seed=2, at=NOW + MINUTE)
    stranger = ReleaseSigner(tmp_path / "stranger.pem")
    lies = {
        "unsigned": replace(true, signature=None),
        "other key": stranger.signed(MODEL, true, after=None, at=NOW + MINUTE),
        "other version": replace(true, version=3),
        "other bytes": replace(true, sha256="0" * 64),
        "nonsense": replace(true, signature="ed25519.!"),
    }
    if forged == "other version":
        (platform.root / MODEL / "versions" / "2").rename(platform.root / MODEL / "versions" / "3")
    name_champion(platform.root, MODEL, lies[forged])
    with pytest.raises(EdgeBundleError, match=r"signed|signature|offers no champion|status"):
        device.run(NOW)
    assert installed(device) == 1
    assert not list((device.releases / MODEL / "versions").glob(".*"))


def ordered(platform: ReleasePlatform, sha256: str, reason: str, at: datetime) -> StopOrder:
    """Let the platform sign a stop order and offer it."""
    order = platform.signer.ordered(StopOrder(MODEL, sha256, reason, ""), after=None, at=at)
    offered(platform, order)
    return order


def offered(platform: ReleasePlatform, order: StopOrder) -> None:
    stop_order_path(platform.root, MODEL).write_text(json.dumps(order.to_dict()))


def test_signed_stop_silences_its_bundle_until_it_is_lifted_by_a_later_order(
    platform: ReleasePlatform, device: Updater
) -> None:
    sha256 = platform.release(1, seed=1, at=NOW).sha256
    device.run(NOW)
    assert device.heed(NOW) is None
    stop = ordered(platform, sha256, "below even odds", NOW)
    assert device.heed(NOW) == "the model has to be silent: below even odds"
    assert device.heed(NOW) is None
    assert stopped(device.database, sha256) == "below even odds"
    assert stopped(device.database, "0" * 64) is None
    # That nothing is offered any more, as when somebody in between leaves it out, lifts nothing.
    stop_order_path(platform.root, MODEL).unlink()
    assert device.heed(NOW + MINUTE) is None
    assert stopped(device.database, sha256) == "below even odds"
    ordered(platform, sha256, "", NOW + MINUTE)
    assert device.heed(NOW + MINUTE) == "the model may speak again"
    assert stopped(device.database, sha256) is None
    offered(platform, stop)  # what somebody in between would send again
    with pytest.raises(ReleaseRefusedError, match="older than the one that is kept"):
        device.heed(NOW + 2 * MINUTE)
    assert stopped(device.database, sha256) is None


@pytest.mark.parametrize(
    "forged", ["other key", "other reason", "other bundle", "other model", "a release", "old", "nonsense"]
)
def test_stop_that_the_platform_does_not_order_now_silences_nothing(
    forged: str, platform: ReleasePlatform, device: Updater, tmp_path: Path
) -> None:
    released = platform.release(1, seed=1, at=NOW)
    true = StopOrder(MODEL, released.sha256, "below even odds", "")
    true = platform.signer.ordered(true, after=None, at=NOW)
    stranger = ReleaseSigner(tmp_path / "stranger.pem")
    elsewhere = platform.signer.ordered(replace(true, model="another"), after=None, at=NOW)
    lies = {
        "other key": stranger.ordered(true, after=None, at=NOW),
        "other reason": replace(true, reason="silence"),
        "other bundle": replace(true, sha256="0" * 64),
        "other model": elsewhere,
        "a release": replace(true, signature=str(released.signature)),
        "old": platform.signer.ordered(true, after=None, at=NOW - GREATEST_AGE - MINUTE),
        "nonsense": replace(true, signature="ed25519.!"),
    }
    offered(platform, lies[forged])
    with pytest.raises(ReleaseRefusedError, match=r"signed|signature|for the model"):
        device.heed(NOW)
    assert stopped(device.database, released.sha256) is None
    # The very same order, as the platform has signed it, is taken.
    offered(platform, true)
    assert device.heed(NOW) is not None


def test_device_is_silent_while_its_platform_orders_it_and_a_forged_order_is_a_trouble(
    platform: ReleasePlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(program: str) -> str:
        assert main(["--settings", f"{settings_file(tmp_path)}", program]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    now = datetime.now(UTC)
    released = platform.release(1, seed=1, at=now)
    keys = platform.give_key(tmp_path / "keys")
    true = platform.signer.ordered(
        StopOrder(MODEL, released.sha256, "below even odds", ""), after=None, at=now
    )
    with binance_server(now) as venue:
        installed_device(tmp_path, venue_url=venue.url, platform_url=platform.url, trusted_keys=f"{keys}")
        for order in (true, replace(true, reason="")):
            offered(platform, order)
            run("update")
        venue.now = datetime.now(UTC)
        run("harvest")
    forecasts = [Forecast.from_dict(json.loads(line)) for line in run("infer").splitlines()]
    assert [forecast.abstention for forecast in forecasts] == [
        Abstention("stopped", "below even odds") for _ in SYMBOLS
    ]
    told = json.loads(run("status"))
    assert told["stopped"] == "below even odds"
    assert "signature of the stop order is wrong" in str(told["troubles"])


def test_new_key_is_trusted_when_it_lies_beside_the_old_one(
    platform: ReleasePlatform, device: Updater, tmp_path: Path
) -> None:
    rotated = ReleaseSigner(tmp_path / "rotated.pem")
    true = platform.release(1, seed=1, at=NOW, signed=False)
    name_champion(platform.root, MODEL, rotated.signed(MODEL, true, after=None, at=NOW))
    with pytest.raises(ReleaseRefusedError, match="trusted ones"):
        device.run(NOW)
    (tmp_path / "keys" / "next.pub").write_text(rotated.public_key() + "\n")
    assert replace(device, trusted=trusted_keys(tmp_path / "keys")).run(NOW) == "version 1 runs from now on"


def test_file_that_changed_on_the_way_is_fetched_again_and_never_run(
    platform: ReleasePlatform, device: Updater
) -> None:
    platform.release(1, seed=1, at=NOW)
    graph = release_folder(platform.root, MODEL, 1) / GRAPH_NAME
    content = graph.read_bytes()
    graph.write_bytes(content[:-1] + b"\x00")
    with pytest.raises(NoAnswerError):
        device.run(NOW)
    assert installed(device) is None
    graph.write_bytes(content)
    assert device.run(NOW) == "version 1 runs from now on"


def test_bundle_that_answers_otherwise_here_is_refused_and_not_fetched_again(
    platform: ReleasePlatform, device: Updater
) -> None:
    platform.release(1, seed=1, at=NOW)
    device.run(NOW)
    platform.release(2, seed=2, at=NOW + MINUTE)
    folder = release_folder(platform.root, MODEL, 2)
    give_graph(release_folder(platform.root, MODEL, 1), folder)
    platform.name(ReleasedVersion(2, bundle_digest(folder)), at=NOW + MINUTE)
    with pytest.raises(ReleaseRefusedError, match="golden rows differ here"):
        device.run(NOW)
    with pytest.raises(ReleaseRefusedError, match="tried here and failed"):
        device.run(NOW)
    assert installed(device) == 1
    platform.release(3, seed=3, at=NOW + 2 * MINUTE)
    assert device.run(NOW) == "version 3 runs from now on"


def test_model_that_fails_in_its_first_hour_gives_its_place_back(
    platform: ReleasePlatform, device: Updater
) -> None:
    platform.release(1, seed=1, at=NOW)
    device.run(NOW)
    assert device.on_probation(NOW) is None  # there is none to go back to
    assert device.roll_back(NOW, because="planted") is None
    platform.release(2, seed=2, at=NOW + MINUTE)
    device.run(NOW)
    assert device.on_probation(NOW + PROBATION) == NOW
    assert device.on_probation(NOW + PROBATION + MINUTE) is None
    assert device.roll_back(NOW, because="planted") == "version 1 is back in place of 2: planted"
    assert installed(device) == 1
    with pytest.raises(ReleaseRefusedError):
        device.run(NOW)
    assert installed(device) == 1


def test_watch_takes_back_what_only_fails_and_leaves_what_runs(
    platform: ReleasePlatform, device: Updater
) -> None:
    platform.release(1, seed=1, at=NOW)
    device.run(NOW)
    platform.release(2, seed=2, at=NOW + MINUTE)
    device.run(NOW)
    for minute in range(MOST_FAILURES - 1):
        device.database.note_trouble(INFER, "planted", now=NOW + (minute + 1) * MINUTE)
    assert device.watch(NOW + 4 * MINUTE) is None
    device.database.note_trouble(INFER, "planted", now=NOW + 5 * MINUTE)
    device.database.mark(ran_well(INFER), "well again", now=NOW + 6 * MINUTE)
    assert device.watch(NOW + 7 * MINUTE) is None
    device.database.note_trouble(INFER, "planted again", now=NOW + 8 * MINUTE)
    assert device.watch(NOW + 2 * PROBATION) is None
    told = device.watch(NOW + 9 * MINUTE)
    assert told == "version 1 is back in place of 2: 4 runs failed, the last one: planted again"
    assert installed(device) == 1


def test_update_killed_at_any_moment_leaves_a_model_that_runs(
    platform: ReleasePlatform, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    (folder / "keys").mkdir(parents=True)
    (folder / "keys" / "platform.pub").write_text(platform.signer.public_key())
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}"}
    web, trusted = Web("platform", platform.url), trusted_keys(folder / "keys")
    device = Updater(DeviceDatabase(folder / "device.db"), web, folder / "releases", MODEL, trusted)
    platform.release(1, seed=1, at=NOW)
    device.run(NOW)
    for version, wait in enumerate((0.0, 0.01, 0.03, 0.1), start=2):
        platform.release(version, seed=version, at=NOW + version * MINUTE)
        command = [sys.executable, "-c", RUN, folder, platform.url, MODEL]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == "begun\n"
            try:
                running.wait(timeout=wait)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
        assert installed(device) in (version - 1, version)
        device.run(NOW)
        assert installed(device) == version


def test_private_key_is_its_owners_alone_and_stays_the_same(tmp_path: Path) -> None:
    signer = ReleaseSigner(tmp_path / "data" / "keys" / "signing.pem")
    public = signer.public_key()
    assert signer.path.stat().st_mode & 0o777 == 0o600
    assert ReleaseSigner(signer.path).public_key() == public
    assert json.dumps(list(trusted_keys(tmp_path))) == "[]"
