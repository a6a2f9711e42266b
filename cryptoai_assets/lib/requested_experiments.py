"""Experiments that were asked for from outside: begun or ended, or refused with the reason."""

from dataclasses import asdict
from datetime import datetime

from cryptoai_assets.lib.experiment_analysis import ExperimentError
from cryptoai_assets.lib.experiment_desk import Ended, begin, end, ended_experiment, running_name
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.releases import PromotionError
from cryptoai_assets.lib.store import StoreError
from cryptoai_assets.lib.tracking import TrackingError
from cryptoai_serving.experiment_requests import ExperimentPlan, ExperimentRequest
from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.experiment import read_experiment


def carry_out_experiment(home: Home, request: ExperimentRequest, at: datetime) -> str:
    """Begin or end what was asked for.

    Carried out twice, as after a kill, it changes nothing the second time.

    Returns
    -------
    str
        What became of it: ``has begun …``, ``has ended``, or ``refused: …`` with the reason.
    """
    try:
        if request.model != home.market.model:
            raise ExperimentError(f"{request.model} is not the model of this market")
        return _ended(home, request, at) if request.plan is None else _begun(home, request, request.plan, at)
    except (ExperimentError, PromotionError, StoreError, TrackingError, ReleaseRefusedError) as error:
        return f"refused: {error}"


def _begun(home: Home, request: ExperimentRequest, plan: ExperimentPlan, at: datetime) -> str:
    running = read_experiment(home.releases, home.market.model)
    if running is None or running.name != request.name or running.began_at < request.asked_at:
        running = begin(home, name=request.name, **asdict(plan), at=at)
    return f"has begun: {running.times_needed} bars needed"


def _ended(home: Home, request: ExperimentRequest, at: datetime) -> str:
    if ended_experiment(home, request.name) is None:
        if (running := running_name(home)) != request.name:
            raise ExperimentError(f"{request.name} does not run" + (f", {running} does" if running else ""))
        end(home, Ended(at, request.actor, request.reason))
    return "has ended"
