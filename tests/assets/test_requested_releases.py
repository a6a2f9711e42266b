"""Requested releases: what the gate admitted is released, all else is refused in the ledger, once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from fakes.mortal_desk import AT, MLFLOW_WARNINGS, MODEL, desk_at

from cryptoai_assets.defs.release.sensors import releases_follow_requests
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.releases import ReleaseDesk
from cryptoai_assets.lib.requested_releases import ADMITTED_TAG, RELEASED, carry_out
from cryptoai_serving.release_requests import ReleaseRequest, ReleaseRequests, RequestKind
from edge_bundle.releases import read_channel

pytestmark = MLFLOW_WARNINGS


@pytest.fixture
def root(copied_registry: Callable[[], Path]) -> Path:
    return copied_registry()


@pytest.fixture
def desk(root: Path) -> ReleaseDesk:
    return desk_at(root)


def wanted(version: int, kind: RequestKind = "promotion") -> ReleaseRequest:
    return ReleaseRequest(f"{kind}-{version}", kind, MODEL, version, "key 3f9c21ab", "live score fell", AT)


def champion(desk: ReleaseDesk) -> int | None:
    channel = read_channel(desk.root, MODEL)
    return channel.champion.version if channel and channel.champion else None


def test_admitted_version_is_released_in_the_name_of_the_key_and_once(desk: ReleaseDesk) -> None:
    desk.tracking.tag_version(MODEL, 2, {ADMITTED_TAG: "True"})
    assert carry_out(desk, wanted(2), AT) == RELEASED
    assert champion(desk) == 2
    line = desk.ledger.entries(MODEL)[-1]
    assert (line.kind, line.actor) == ("promotion", "key 3f9c21ab")
    assert "live score fell" in line.reason
    entries = len(desk.ledger.entries(MODEL))
    assert carry_out(desk, wanted(2), AT) == RELEASED
    assert len(desk.ledger.entries(MODEL)) == entries


@pytest.mark.parametrize("tags", [{}, {ADMITTED_TAG: "False"}])
def test_version_that_the_gate_did_not_admit_is_refused_in_the_ledger(
    desk: ReleaseDesk, tags: dict[str, str]
) -> None:
    desk.tracking.tag_version(MODEL, 2, tags)
    before = champion(desk)
    assert carry_out(desk, wanted(2), AT) == f"refused: the gate has not admitted {MODEL} version 2"
    assert champion(desk) == before
    line = desk.ledger.entries(MODEL)[-1]
    assert (line.kind, line.version, line.previous, line.actor) == ("refusal", 2, before, "key 3f9c21ab")
    # As after a kill before the request was settled; another request is answered by another line.
    carry_out(desk, wanted(2), AT)
    assert desk.ledger.entries(MODEL)[-1] == line
    carry_out(desk, replace(wanted(2), id="another"), AT)
    assert desk.ledger.entries(MODEL)[-1].id == line.id + 1


def test_version_that_does_not_exist_is_refused(desk: ReleaseDesk) -> None:
    assert carry_out(desk, wanted(99), AT) == f"refused: {MODEL} has no version 99"


def test_rollback_needs_a_version_that_was_champion_and_no_gate(desk: ReleaseDesk) -> None:
    first = champion(desk)
    assert first is not None
    assert "was never champion" in carry_out(desk, wanted(2, "rollback"), AT)
    assert champion(desk) == first
    desk.promote(MODEL, first, actor="gate", reason="r", numbers={}, at=AT)
    desk.tracking.tag_version(MODEL, 2, {ADMITTED_TAG: "True"})
    assert carry_out(desk, wanted(2), AT) == RELEASED
    assert carry_out(desk, wanted(first, "rollback"), AT) == RELEASED
    assert champion(desk) == first
    assert desk.ledger.entries(MODEL)[-1].kind == "rollback"


def test_sensor_settles_every_request_and_is_quiet_after(root: Path, desk: ReleaseDesk) -> None:
    market = MarketResource(name="sample", root=str(root), time=AT.isoformat())

    def evaluated() -> str | None:
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance=instance, resources={"market": market})
            result = releases_follow_requests(context)
        assert isinstance(result, dg.SkipReason)
        return result.skip_message

    assert evaluated() == "nothing was ever asked for"
    desk.tracking.tag_version(MODEL, 2, {ADMITTED_TAG: "True"})
    with ReleaseRequests(market.home.requests_database) as requests:
        requests.file(wanted(3))
        requests.file(wanted(2))
        told = evaluated() or ""
        assert told.startswith("promotion of version 3: refused: the gate")
        assert told.endswith("promotion of version 2: released")
        assert requests.waiting() == []
        assert requests.outcome("promotion-2") == RELEASED
    assert champion(desk) == 2
    assert evaluated() == "nothing waits"
