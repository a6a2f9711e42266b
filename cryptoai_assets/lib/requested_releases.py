"""Promotions and rollbacks that were asked for from outside: the gate's word is asked first."""

from datetime import datetime

from cryptoai_assets.lib.releases import PromotionError, ReleaseDesk
from cryptoai_assets.lib.tracking import TrackingError
from cryptoai_serving.release_requests import ReleaseRequest
from edge_bundle.releases import read_channel

# What the gate said of a version, as its tag in MLflow; "True" when it may become champion.
ADMITTED_TAG = "gate/promote"
RELEASED = "released"


def carry_out(desk: ReleaseDesk, request: ReleaseRequest, at: datetime) -> str:
    """Release what was asked for, or write the refusal into the ledger.

    Carried out twice, as after a kill, it changes nothing the second time.

    Returns
    -------
    str
        `RELEASED`, or why not.
    """
    reason = f"asked for through the service: {request.reason}"
    try:
        _check_admitted(desk, request)
        desk.promote(
            request.model,
            request.version,
            actor=request.actor,
            reason=reason,
            numbers={},
            at=at,
            kind=request.kind,
        )
    except (PromotionError, TrackingError) as error:
        channel = read_channel(desk.root, request.model)
        champion = channel.champion if channel else None
        desk.ledger.refuse(
            model=request.model,
            version=request.version,
            previous=champion.version if champion else None,
            actor=request.actor,
            reason=f"{reason}; refused: {error}",
            numbers={"request": request.id},
            at=at,
        )
        return f"refused: {error}"
    return RELEASED


def _check_admitted(desk: ReleaseDesk, request: ReleaseRequest) -> None:
    version = f"{request.model} version {request.version}"
    if request.kind == "rollback":
        if not desk.ledger.was_champion(request.model, request.version):
            raise PromotionError(f"{version} was never champion: ask for its promotion")
    elif desk.tracking.version(request.model, request.version).tags.get(ADMITTED_TAG) != "True":
        raise PromotionError(f"the gate has not admitted {version}")
