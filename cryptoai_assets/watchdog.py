"""The watchdog: stands outside Dagster, sees whether the platform lives, and tells when it does not.

`make up` starts it beside the servers. Alone, ``python -m cryptoai_assets.watchdog`` looks once, as a timer
of the system may ask it to, and ends with status 1 when something is silent.
"""

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import httpx

from cryptoai_assets.defs.resources import (
    AlertsResource,
    MarketResource,
    configured_alerts,
    configured_resource,
)
from cryptoai_assets.lib.trouble import Trouble, tell_troubles
from edge_bundle.heartbeat import HEARTBEAT_NAME, Heartbeat

# The heart beats every minute, behind slower sensors less often.
LONGEST_SILENCE = timedelta(minutes=10)
ANSWER_SECONDS = 5.0
KIND = "silent program"


def look(
    market: MarketResource,
    alerts: AlertsResource,
    *,
    since: datetime | None,
    now: datetime,
    show: Callable[[str], None],
) -> list[Trouble]:
    """Raise an alert for what is silent, resolve what speaks again, and deliver; return what is silent.

    Parameters
    ----------
    since
        From when on the platform may be expected to live; None is for ever.
    """
    found = [*_daemon(market, since, now), *_service(alerts, since, now)]
    links = {"Dagster": alerts.dagster_address}
    tell_troubles(market.home, KIND, found, severity="critical", links=links, now=now)
    for failure in alerts.deliver(market.home, show, now):
        show(failure)
    return found


def _daemon(market: MarketResource, since: datetime | None, now: datetime) -> list[Trouble]:
    beat = Heartbeat.read(market.home.data / HEARTBEAT_NAME)
    known = [moment for moment in (beat.at if beat else None, since) if moment]
    if known and now - max(known) <= LONGEST_SILENCE:
        return []
    last = f"its last sign of life was at {beat.at:%Y-%m-%d %H:%M} UTC" if beat else "it never gave one"
    return [Trouble("Dagster's daemon", f"{last}: no sensor and no schedule is evaluated")]


def _service(alerts: AlertsResource, since: datetime | None, now: datetime) -> list[Trouble]:
    address = f"{alerts.serving_address}/livez"
    if since is not None and now - since <= LONGEST_SILENCE:
        return []
    try:
        httpx.get(address, timeout=ANSWER_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        return [Trouble("the forecast endpoint", f"{address} does not answer: {type(error).__name__}")]
    return []


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, build, hand over."""
    parser = argparse.ArgumentParser(prog="python -m cryptoai_assets.watchdog", description=__doc__)
    parser.add_argument("--every", type=float, help="seconds between two looks; without it, it looks once")
    options = parser.parse_args(arguments)
    market, alerts = configured_resource(), configured_alerts()
    if options.every is None:
        found = look(market, alerts, since=None, now=market.clock(), show=_show)
        for trouble in found:
            _show(f"{trouble.name}: {trouble.said}")
        return 1 if found else 0
    begun, stop = market.clock(), threading.Event()
    with suppress(KeyboardInterrupt):
        while not stop.wait(options.every):
            look(market, alerts, since=begun, now=market.clock(), show=_show)
    return 0


def _show(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
