"""`make sandbox`: simulated venues and sources on one port, to try the live mode on without a network.

They replay the embedded half-hour candles; what is finer, and everything that is no candle, is drawn by seed
and marked as simulated.
"""

import argparse
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import polars as pl
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.binance import SIMULATED, binance_app
from cryptoai_assets.sandbox.coin_metrics import coin_metrics_app
from cryptoai_assets.sandbox.coingecko import coingecko_app
from cryptoai_assets.sandbox.faults import STEERING, FaultPlan, Faults
from cryptoai_assets.sandbox.fear_greed import fear_greed_app
from cryptoai_assets.sandbox.fred import fred_app
from cryptoai_assets.sandbox.market import SandboxMarket
from cryptoai_assets.sandbox.mempool_space import mempool_space_app
from cryptoai_assets.sandbox.news import news_app
from edge_bundle.candles import candle_frame

HOST = "127.0.0.1"
PORT = 3800
# A month before the sample ends: at 60 market seconds a second, half a day to watch.
START = datetime(2019, 9, 1, tzinfo=UTC)
# Enough for trees to find in two months of minutes what lines do not, and below what the gate takes for a
# leak.
SIGNAL = 0.45


def sandbox_app(market: SandboxMarket, *, seed: int) -> ASGIApp:
    """Every simulated server under its own path, behind faults that start with none."""
    servers: Mapping[str, Starlette] = {
        "/binance": binance_app(market),
        "/coingecko": coingecko_app(market),
        "/coin-metrics": coin_metrics_app(market, seed=seed),
        "/mempool": mempool_space_app(market, seed=seed),
        "/fear-greed": fear_greed_app(market, seed=seed),
        "/fred": fred_app(market, seed=seed),
        "/news": news_app(market, seed=seed),
    }

    async def contents(_request: Request) -> Response:
        told = {"market_time": market.now().isoformat(), "servers": list(servers), "faults": STEERING}
        return JSONResponse(told, headers=SIMULATED)

    mounts = [Mount(path, app) for path, app in servers.items()]
    return Faults(Starlette(routes=[Route("/", contents), *mounts]), FaultPlan(seed))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, build, serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m cryptoai_assets.sandbox", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides minutes, trades, books and facts")
    parser.add_argument("--speed", type=float, default=60.0, help="market seconds in a second")
    parser.add_argument("--port", type=int, default=PORT, help="0 is any that is free")
    parser.add_argument(
        "--start", type=_moment, default=START, help="market time at the start, ISO 8601, UTC"
    )
    parser.add_argument(
        "--signal",
        type=float,
        default=SIGNAL,
        help="how much a minute's volume tells of the minutes after it; 0 is nothing, and no forecast passes",
    )
    options = parser.parse_args(arguments)
    market = SandboxMarket(
        candle_frame(pl.read_parquet(sample_file())),
        seed=options.seed,
        signal=options.signal,
        start=options.start,
        speed=options.speed,
        clock=lambda: datetime.now(UTC),
    )
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, options.port))
        except OSError as error:
            parser.error(f"port {options.port} cannot be had ({error}); choose another with --port")
        # Who reads the address may ask at once: it is answered when the server's loop runs.
        listener.listen()
        _tell(f"http://{HOST}:{listener.getsockname()[1]}", options)
        config = uvicorn.Config(
            sandbox_app(market, seed=options.seed),
            log_level="critical",
            lifespan="off",
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        # The server raises again, in its last step, the signal that ended it: here it is expected.
        for request_to_end in (signal.SIGINT, signal.SIGTERM):
            signal.signal(request_to_end, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listener])
    return 0


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _tell(address: str, options: argparse.Namespace) -> None:
    sys.stdout.write(
        f"Simulated market, seed {options.seed}, from {options.start:%Y-%m-%d %H:%M} UTC"
        f" at {options.speed:g} market seconds a second; nothing in it is real but the half-hour candles.\n"
        f"A weak signal is planted in its volume (--signal {options.signal:g}), for a forecast to find.\n"
        f"  Binance       {address}/binance  (websockets: ws{address.removeprefix('http')}/binance/ws)\n"
        f"  CoinGecko     {address}/coingecko\n"
        f"  Coin Metrics  {address}/coin-metrics\n"
        f"  mempool.space {address}/mempool\n"
        f"  Fear & Greed  {address}/fear-greed\n"
        f"  FRED          {address}/fred\n"
        f"  Faults        {address}{STEERING}?server_error=0.1&dropped=0.05\n"
        "Ctrl-C ends it.\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
