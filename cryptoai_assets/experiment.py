"""`python -m cryptoai_assets.experiment`: hold a version against the champion, in service, or end that."""

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

from cryptoai_assets.defs.resources import MarketResource, configured_resource
from cryptoai_assets.lib.experiment_analysis import ExperimentError
from cryptoai_assets.lib.experiment_desk import Ended, begin, end
from cryptoai_assets.lib.releases import PromotionError
from cryptoai_assets.lib.store import StoreError
from edge_bundle.experiment import Metric, Mode


def main(arguments: Sequence[str] | None = None, market: MarketResource | None = None) -> int:
    """Parse, build, hand over, translate errors; the market is that of the environment if none is given."""
    options = _parser().parse_args(arguments)
    resource = market or configured_resource()
    try:
        if options.command == "end":
            ended = Ended(resource.clock(), "the command line", options.reason)
            sys.stdout.write(f"{end(resource.home, ended)} has ended\n")
            return 0
        begun = begin(
            resource.home,
            name=options.name,
            challenger=options.challenger,
            mode=options.mode,
            challenger_share=0.0 if options.mode == "shadow" else options.share,
            metric=options.metric,
            horizon_bars=options.horizon,
            minimal_effect=options.effect,
            false_alarm_rate=options.false_alarm_rate,
            power=options.power,
            at=resource.clock(),
        )
    except (ExperimentError, PromotionError, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(
        f"{begun.name} holds version {begun.challenger.version} against {begun.control.version} "
        f"for {begun.times_needed} bars; it cannot be changed, only ended\n"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cryptoai_assets.experiment", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    stop = commands.add_parser("end", help="end the one that runs; before its length there is no verdict")
    stop.add_argument("--reason", default="by hand", help="kept with it: %(default)s")
    start = commands.add_parser("begin", help="begin one; nothing of it can be changed later")
    start.add_argument("name", help="of letters, digits, - and _; used once")
    start.add_argument("--challenger", type=int, required=True, help="registered version")
    start.add_argument("--mode", choices=get_args(Mode), required=True, help="split users, or run beside")
    start.add_argument("--share", type=float, default=0.5, help="of users for the challenger: %(default)s")
    start.add_argument("--metric", choices=get_args(Metric), required=True, help="loss that decides")
    start.add_argument("--horizon", type=int, required=True, help="bars ahead")
    start.add_argument("--effect", type=float, required=True, help="difference of the loss to be found")
    start.add_argument("--false-alarm-rate", type=float, default=0.05, help="%(default)s")
    start.add_argument("--power", type=float, default=0.8, help="%(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
