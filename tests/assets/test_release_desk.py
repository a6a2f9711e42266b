"""The release desk: a promotion is the old version or the new, complete, whoever is killed and when."""

import base64
import fcntl
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fakes.mortal_desk import AT, MLFLOW_WARNINGS, MODEL, STEPS, desk_at
from fakes.tiny_bundle import write_disagreeing_bundle, write_tiny_bundle

from cryptoai_assets.ledger import acknowledge
from cryptoai_assets.lib.ledger import EntryKind, Ledger
from cryptoai_assets.lib.release_signing import ReleaseSigner
from cryptoai_assets.lib.releases import (
    LOCK_NAME,
    PromotionError,
    ReleaseDesk,
    champion_forecaster,
    rival,
    write_channel,
)
from cryptoai_assets.lib.tracking import CHAMPION, DIGEST_TAG, Tracking
from edge_bundle.manifest import GRAPH_NAME, bundle_digest
from edge_bundle.releases import (
    Channel,
    ReleasedVersion,
    Signature,
    read_channel,
    read_leak_alarm,
    read_stop,
    release_folder,
    signed_bytes,
    stop_path,
)
from edge_bundle.stop_orders import read_stop_order, stop_order_path

pytestmark = MLFLOW_WARNINGS

DRIVER = Path(__file__).parents[1] / "fakes" / "mortal_desk.py"
PROJECT = Path(__file__).parents[2]
INTENT = STEPS.index("writing the intent")


@pytest.fixture
def root(copied_registry: Callable[[], Path]) -> Path:
    return copied_registry()


@pytest.fixture
def desk(root: Path) -> ReleaseDesk:
    return desk_at(root)


def killed(root: Path, action: str, step: str) -> None:
    """Run the desk in a process that is killed before a step."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(root), action, step],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def promote(desk: ReleaseDesk, version: int, numbers: Mapping[str, object] | None = None) -> Channel:
    return desk.promote(MODEL, version, actor="gate", reason="better", numbers=numbers or {}, at=AT)


def champion_everywhere(desk: ReleaseDesk) -> int:
    """Version that MLflow, the channel, its bundle and the ledger agree on; it fails when they do not."""
    holder = desk.tracking.alias(MODEL, CHAMPION)
    channel = read_channel(desk.root, MODEL)
    forecaster = champion_forecaster(desk.root, MODEL)
    assert holder is not None
    assert channel is not None
    assert channel.champion is not None
    assert forecaster is not None
    assert channel.champion == ReleasedVersion(holder.version, forecaster.digest)
    assert holder.bundle_sha256 == forecaster.digest
    assert forecaster.selftest().passed
    assert desk.ledger.open_intents() == []
    closing = [entry for entry in desk.ledger.entries(MODEL) if entry.kind in ("promotion", "rollback")]
    assert closing[-1].version == holder.version
    return holder.version


def test_promotion_reaches_alias_channel_bundle_and_ledger(desk: ReleaseDesk) -> None:
    channel = promote(desk, 2, {"door": "superior"})
    assert channel == read_channel(desk.root, MODEL)
    assert champion_everywhere(desk) == 2
    *_, intent, line = desk.ledger.entries(MODEL)
    assert (intent.kind, line.kind, line.intent) == ("intent", "promotion", intent.id)
    assert (line.previous, line.version, line.actor, line.at) == (1, 2, "gate", AT)
    assert line.numbers["decision"] == {"door": "superior"}


def test_rival_is_the_champion_and_for_the_champion_the_one_before_it(desk: ReleaseDesk) -> None:
    assert rival(desk.root, desk.ledger, MODEL, 1) is None
    first = rival(desk.root, desk.ledger, MODEL, 2)
    assert first is not None
    assert first.digest == bundle_digest(release_folder(desk.root, MODEL, 1))
    promote(desk, 2)
    promote(desk, 2)
    again = rival(desk.root, desk.ledger, MODEL, 2)
    assert again is not None
    assert again.digest == first.digest


@pytest.mark.parametrize("step", STEPS)
def test_promotion_killed_before_any_step_is_the_old_version_or_the_new(root: Path, step: str) -> None:
    killed(root, "promote", step)
    desk = desk_at(root)
    running = champion_forecaster(desk.root, MODEL)
    assert running is not None, "what runs reads a whole release all the while"
    assert running.selftest().passed
    began = desk.finish_open_intents(AT)
    after_intent = STEPS.index(step) > INTENT
    assert champion_everywhere(desk) == (2 if after_intent else 1)
    assert len(began) == (after_intent and step != "ending")
    lines = [entry.kind for entry in desk.ledger.entries(MODEL)]
    assert lines == ["intent", "promotion"] * (2 if after_intent else 1)
    assert promote(desk, 2).champion == ReleasedVersion(2, bundle_digest(release_folder(desk.root, MODEL, 2)))
    assert champion_everywhere(desk) == 2


class UnreachableTracking(Tracking):
    """MLflow that goes away before an alias is moved."""

    def set_alias(self, model: str, alias: str, version: int) -> None:
        raise ConnectionError(f"{alias} of {model} version {version}")


@pytest.fixture
def interrupted(desk: ReleaseDesk) -> ReleaseDesk:
    """A desk whose promotion of version 2 stopped between the intent and the alias."""
    uri, folder, experiment = desk.tracking.uri, desk.tracking.artifact_root, desk.tracking.experiment
    with pytest.raises(ConnectionError):
        promote(ReleaseDesk(desk.root, UnreachableTracking(uri, folder, experiment), desk.ledger), 2)
    assert len(desk.ledger.open_intents()) == 1
    return desk


@pytest.mark.parametrize("step", ["replacing the channel", "writing the promotion"])
def test_recovery_that_is_killed_itself_is_finished_by_the_next(
    root: Path, interrupted: ReleaseDesk, step: str
) -> None:
    killed(root, "recover", step)
    assert [entry.version for entry in interrupted.finish_open_intents(AT)] == [2]
    assert champion_everywhere(interrupted) == 2


def test_next_promotion_first_finishes_what_was_begun(interrupted: ReleaseDesk) -> None:
    promote(interrupted, 3)
    assert interrupted.finish_open_intents(AT) == []
    assert champion_everywhere(interrupted) == 3
    versions = [entry.version for entry in interrupted.ledger.entries(MODEL) if entry.kind == "promotion"]
    assert versions == [1, 2, 3]


def tag_with_another_digest(desk: ReleaseDesk) -> None:
    desk.tracking.tag_version(MODEL, 2, {DIGEST_TAG: "0" * 64})


def delete_the_version(desk: ReleaseDesk) -> None:
    mlflow.MlflowClient(tracking_uri=desk.tracking.uri).delete_model_version(MODEL, "2")


@pytest.mark.parametrize("spoil", [tag_with_another_digest, delete_the_version])
@pytest.mark.parametrize("moved", ["nothing", "alias", "alias and channel"])
def test_intent_whose_bundle_no_longer_verifies_is_taken_back(
    interrupted: ReleaseDesk, spoil: Callable[[ReleaseDesk], None], moved: str
) -> None:
    if "alias" in moved:
        interrupted.tracking.set_alias(MODEL, CHAMPION, 2)
    if "channel" in moved:
        write_channel(interrupted.root, Channel(MODEL, champion=ReleasedVersion(2, "0" * 64)))
    spoil(interrupted)
    interrupted.finish_open_intents(AT)
    assert champion_everywhere(interrupted) == 1
    line = interrupted.ledger.entries(MODEL)[-1]
    assert line.kind == "abandoned"
    assert "not carried out" in line.reason


def test_first_promotion_that_is_taken_back_leaves_no_champion(root: Path, desk: ReleaseDesk) -> None:
    shutil.rmtree(root / "releases")
    shutil.rmtree(root / "data")
    desk.tracking.remove_alias(MODEL, CHAMPION)
    uri, folder, experiment = desk.tracking.uri, desk.tracking.artifact_root, desk.tracking.experiment
    with pytest.raises(ConnectionError):
        promote(ReleaseDesk(desk.root, UnreachableTracking(uri, folder, experiment), desk.ledger), 2)
    tag_with_another_digest(desk)
    desk.finish_open_intents(AT)
    assert desk.tracking.alias(MODEL, CHAMPION) is None
    assert champion_forecaster(desk.root, MODEL) is None


def test_version_that_is_champion_everywhere_is_promoted_once(desk: ReleaseDesk) -> None:
    promote(desk, 2)
    before = desk.ledger.entries()
    promote(desk, 2)
    assert desk.ledger.entries() == before


class JostledTracking(Tracking):
    """MLflow at which a second writer tries to begin while an alias is moved."""

    def set_alias(self, model: str, alias: str, version: int) -> None:
        with (self.artifact_root.parent / "releases" / LOCK_NAME).open("w") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            super().set_alias(model, alias, version)


def test_second_writer_waits_until_the_first_is_done(root: Path, desk: ReleaseDesk) -> None:
    tracking = JostledTracking(desk.tracking.uri, desk.tracking.artifact_root, desk.tracking.experiment)
    promote(ReleaseDesk(desk.root, tracking, desk.ledger), 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda version: promote(desk_at(root), version), [1, 3]))
    assert champion_everywhere(desk) in (1, 3)
    assert [entry.kind for entry in desk.ledger.entries(MODEL)] == ["intent", "promotion"] * 4


def test_damaged_release_folder_is_fetched_anew(desk: ReleaseDesk) -> None:
    graph = release_folder(desk.root, MODEL, 2) / GRAPH_NAME
    promote(desk, 2)
    promote(desk, 3)
    graph.write_bytes(b"half")
    promote(desk, 2)
    assert champion_everywhere(desk) == 2


def test_folder_that_holds_another_sound_bundle_is_not_released_as_this_version(desk: ReleaseDesk) -> None:
    write_tiny_bundle(release_folder(desk.root, MODEL, 2), seed=99)
    promote(desk, 2)
    assert champion_everywhere(desk) == 2


def test_bundle_that_is_not_the_registered_one_is_refused_and_nothing_is_written(desk: ReleaseDesk) -> None:
    tag_with_another_digest(desk)
    before = desk.ledger.entries()
    with pytest.raises(PromotionError, match="registered was 000000000000"):
        promote(desk, 2)
    assert desk.ledger.entries() == before
    assert champion_everywhere(desk) == 1


def test_bundle_of_another_model_is_refused(root: Path, desk: ReleaseDesk) -> None:
    bundle = write_tiny_bundle(root / "bundle", market="live", seed=4)
    with desk.tracking.run("training", tags={}) as run_id:
        wrong = desk.tracking.register(run_id, bundle, model=MODEL, tags={})
    with pytest.raises(PromotionError, match="of the model cryptoai-forecaster-live"):
        promote(desk, wrong.version)


def test_bundle_whose_golden_rows_disagree_is_refused(root: Path, desk: ReleaseDesk) -> None:
    bundle = write_disagreeing_bundle(root)
    with desk.tracking.run("training", tags={}) as run_id:
        wrong = desk.tracking.register(run_id, bundle, model=MODEL, tags={})
    with pytest.raises(PromotionError, match="golden rows differ"):
        promote(desk, wrong.version)
    assert champion_everywhere(desk) == 1


def test_unanswered_leak_alarm_stops_the_gate_and_the_hand_alike(desk: ReleaseDesk) -> None:
    desk.ledger.append(
        "refusal",
        model=MODEL,
        version=2,
        actor="gate",
        reason="leak alarm",
        numbers={"alarms": ["h1/accuracy is at least 0.610"]},
        at=AT,
    )
    with pytest.raises(PromotionError, match="leak alarm"):
        promote(desk, 2)
    desk.tracking.set_alias(MODEL, CHAMPION, 2)
    with pytest.raises(PromotionError, match="leak alarm"):
        desk.reconcile(MODEL, AT)
    assert champion_everywhere(desk) == 1
    acknowledge(desk.ledger, model=MODEL, version=2, name="Ada", reason="the outage explains it", at=AT)
    promote(desk, 2)
    assert champion_everywhere(desk) == 2


def test_gate_that_comes_to_doubt_the_champion_is_told_to_its_readers_until_a_person_answers(
    desk: ReleaseDesk,
) -> None:
    for version in (1, 2):
        desk.ledger.append(
            "refusal",
            model=MODEL,
            version=version,
            actor="gate",
            reason="leak alarm",
            numbers={"alarms": [f"h1/accuracy of {version} is at least 0.610"]},
            at=AT,
        )
    assert read_leak_alarm(desk.root, MODEL, 1) is None
    desk.reconcile(MODEL, AT)
    assert read_leak_alarm(desk.root, MODEL, 1) == "h1/accuracy of 1 is at least 0.610"
    acknowledge(desk.ledger, model=MODEL, version=1, name="Ada", reason="the outage explains it", at=AT)
    desk.reconcile(MODEL, AT)
    assert read_leak_alarm(desk.root, MODEL, 1) is None


def test_alias_that_was_moved_by_hand_is_released_and_noted(desk: ReleaseDesk) -> None:
    assert desk.reconcile(MODEL, AT) is None
    desk.tracking.set_alias(MODEL, CHAMPION, 3)
    assert desk.reconcile(MODEL, AT) is not None
    assert champion_everywhere(desk) == 3
    line = desk.ledger.entries(MODEL)[-1]
    assert (line.kind, line.previous, line.version) == ("promotion", 1, 3)
    assert "by hand from version 1 to 3" in line.reason
    assert desk.reconcile(MODEL, AT) is None


def test_alias_that_was_moved_back_by_hand_is_a_rollback(desk: ReleaseDesk) -> None:
    promote(desk, 2)
    desk.tracking.set_alias(MODEL, CHAMPION, 1)
    desk.reconcile(MODEL, AT)
    assert champion_everywhere(desk) == 1
    assert desk.ledger.entries(MODEL)[-1].kind == "rollback"


def test_alias_on_a_version_that_does_not_verify_is_moved_back_and_noted(desk: ReleaseDesk) -> None:
    tag_with_another_digest(desk)
    desk.tracking.set_alias(MODEL, CHAMPION, 2)
    with pytest.raises(PromotionError, match="registered was"):
        desk.reconcile(MODEL, AT)
    assert champion_everywhere(desk) == 1
    line = desk.ledger.entries(MODEL)[-1]
    assert (line.kind, line.version) == ("refusal", 2)
    assert "moved back" in line.reason


class UnreachableLedger(Ledger):
    """A ledger that goes away before a line is written."""

    def append(self, kind: EntryKind, **line: Any) -> int:
        raise ConnectionError(f"{kind}: {line}")


@pytest.mark.parametrize("away", ["ledger", "alias"])
def test_refusal_of_a_moved_alias_that_is_interrupted_is_one_line_in_the_end(
    desk: ReleaseDesk, away: str
) -> None:
    tag_with_another_digest(desk)
    desk.tracking.set_alias(MODEL, CHAMPION, 2)
    uri, folder, experiment = desk.tracking.uri, desk.tracking.artifact_root, desk.tracking.experiment
    tracking = UnreachableTracking(uri, folder, experiment) if away == "alias" else desk.tracking
    ledger = UnreachableLedger(desk.ledger.path) if away == "ledger" else desk.ledger
    with pytest.raises(ConnectionError):
        ReleaseDesk(desk.root, tracking, ledger).reconcile(MODEL, AT)
    with pytest.raises(PromotionError, match="registered was"):
        desk.reconcile(MODEL, AT)
    assert champion_everywhere(desk) == 1
    assert [entry.kind for entry in desk.ledger.entries(MODEL)] == ["intent", "promotion", "refusal"]


def test_promotion_that_was_interrupted_is_not_taken_for_a_hand(interrupted: ReleaseDesk) -> None:
    interrupted.tracking.set_alias(MODEL, CHAMPION, 2)
    assert interrupted.reconcile(MODEL, AT) is None
    assert champion_everywhere(interrupted) == 2
    assert interrupted.ledger.entries(MODEL)[-1].actor == "gate"


def test_alias_that_was_taken_away_changes_no_release(desk: ReleaseDesk) -> None:
    desk.tracking.remove_alias(MODEL, CHAMPION)
    assert desk.reconcile(MODEL, AT) is None
    assert champion_forecaster(desk.root, MODEL) is not None


def test_rollback_is_a_line_of_its_own_kind(desk: ReleaseDesk) -> None:
    promote(desk, 2)
    desk.promote(MODEL, 1, actor="Ada", reason="live score fell", numbers={}, at=AT, kind="rollback")
    assert champion_everywhere(desk) == 1
    assert desk.ledger.entries(MODEL)[-1].kind == "rollback"


def test_other_roles_of_the_channel_outlive_a_promotion(desk: ReleaseDesk) -> None:
    channel = read_channel(desk.root, MODEL)
    assert channel is not None
    shadow = ReleasedVersion(3, "c" * 64)
    write_channel(desk.root, Channel(MODEL, champion=channel.champion, shadow=shadow))
    assert promote(desk, 2).shadow == shadow


def test_each_release_is_signed_as_a_newer_one_a_rollback_too(desk: ReleaseDesk, tmp_path: Path) -> None:
    signer = ReleaseSigner(tmp_path / "signing.pem")
    desk = ReleaseDesk(desk.root, desk.tracking, desk.ledger, signer)
    signatures = []
    for version in (2, 1, 2):
        champion = promote(desk, version).champion
        assert champion is not None
        assert champion.signature is not None
        signature = Signature.of(champion.signature)
        public = base64.b64decode(signer.public_key())
        Ed25519PublicKey.from_public_bytes(public).verify(
            base64.urlsafe_b64decode(signature.signed), signed_bytes(MODEL, champion, signature.sequence)
        )
        signatures.append(signature.sequence)
    assert signatures == sorted(set(signatures))
    assert promote(desk, 2).champion == champion


def test_stop_holds_for_the_champion_alone_until_somebody_answers_for_it(desk: ReleaseDesk) -> None:
    told = {"actor": "monitoring", "reason": "below even odds", "numbers": {}, "at": AT}
    assert not desk.stop(MODEL, 2, **told)
    assert desk.stop(MODEL, 1, **told)
    assert not desk.stop(MODEL, 1, **told)
    assert read_stop(desk.root, MODEL, 1) == "below even odds"
    # Who was killed before the file was written has stopped it all the same.
    stop_path(desk.root, MODEL).unlink()
    desk.reconcile(MODEL, AT)
    assert read_stop(desk.root, MODEL, 1) == "below even odds"
    acknowledge(desk.ledger, model=MODEL, version=1, name="Ada", reason="an outage", at=AT)
    desk.reconcile(MODEL, AT)
    assert read_stop(desk.root, MODEL, 1) is None
    assert not desk.stop(MODEL, 1, **told)
    assert [entry.kind for entry in desk.ledger.entries(MODEL)][-2:] == ["stop", "acknowledgement"]


def test_devices_are_ordered_to_be_silent_anew_each_day_and_once_to_speak_again(
    desk: ReleaseDesk, tmp_path: Path
) -> None:
    signing = replace(desk, signer=ReleaseSigner(tmp_path / "signing.pem"))
    signing.reconcile(MODEL, AT)
    assert read_stop_order(desk.root, MODEL) is None
    signing.stop(MODEL, 1, actor="monitoring", reason="below even odds", numbers={}, at=AT)
    orders = [read_stop_order(desk.root, MODEL)]
    for hours in (23, 24, 25):
        signing.reconcile(MODEL, AT + timedelta(hours=hours))
        orders.append(read_stop_order(desk.root, MODEL))
    first, same, renewed, still = orders
    assert first is not None
    assert renewed is not None
    assert (same, still) == (first, renewed)
    assert first.signed_at == AT
    assert renewed.signed_at == AT + timedelta(days=1)
    assert (renewed.reason, renewed.sha256) == (first.reason, first.sha256)
    acknowledge(desk.ledger, model=MODEL, version=1, name="Ada", reason="an outage", at=AT)
    for days in (2, 4):
        signing.reconcile(MODEL, AT + timedelta(days=days))
    lifted = read_stop_order(desk.root, MODEL)
    assert lifted is not None
    assert (lifted.reason, lifted.signed_at) == ("", AT + timedelta(days=2))
    # What cannot be read is said anew.
    for days, content in ((5, "{"), (6, "[" * 100_000)):
        stop_order_path(desk.root, MODEL).write_text(content)
        signing.reconcile(MODEL, AT + timedelta(days=days))
        assert read_stop_order(desk.root, MODEL) is not None


def test_stop_of_one_version_does_not_silence_the_next(desk: ReleaseDesk) -> None:
    desk.stop(MODEL, 1, actor="monitoring", reason="below even odds", numbers={}, at=AT)
    promote(desk, 2)
    desk.reconcile(MODEL, AT)
    assert read_stop(desk.root, MODEL, 2) is None
    assert not stop_path(desk.root, MODEL).exists()
