"""`cryptoai-edge`: the programs of the device, one subcommand each.

A program imports what it needs when it runs: a timer starts it anew every minute, and most need little.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_bundle.device import settings as device_settings
from edge_bundle.device.database import DatabaseRefusedError, DeviceDatabase, ran_well
from edge_bundle.device.settings import DeviceSettings, SettingsRefusedError
from edge_bundle.errors import EdgeBundleError, ReleaseRefusedError

REFUSED = 2
TROUBLES_SHOWN = timedelta(days=1)
BENCH_ROUNDS = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, read the settings, run one program, translate one error."""
    parser = argparse.ArgumentParser(prog="cryptoai-edge", description=__doc__)
    parser.add_argument("--settings", type=Path, default=device_settings.PATH, help="TOML file")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, program in _PROGRAMS.items():
        commands.add_parser(name, help=(program.__doc__ or "").partition("\n")[0])
    options = parser.parse_args(arguments)
    try:
        settings = DeviceSettings.read(options.settings)
    except EdgeBundleError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    now = datetime.now(UTC)
    try:
        return _PROGRAMS[options.command](settings, now)
    except EdgeBundleError as error:
        _note(settings, options.command, f"{error}", now)
        return REFUSED


def _harvest(settings: DeviceSettings, now: datetime) -> int:
    """Fetch the bars that have closed since, and those that are missing."""
    from edge_bundle.device.harvest import PROGRAM, Harvest
    from edge_bundle.device.models import installed_manifest
    from edge_bundle.device.venue import ReferencePrices, Venue
    from edge_bundle.device.web import Web

    manifest = installed_manifest(settings)
    database = DeviceDatabase(settings.database)
    fallback = Web("coingecko", settings.fallback_url) if settings.fallback_url else None
    harvest = Harvest(
        database,
        Venue(Web(manifest.venue, settings.venue_url), manifest.interval),
        ReferencePrices(fallback) if fallback else None,
        manifest.symbols,
        timedelta(days=settings.history_days),
    )
    done = harvest.run(now)
    for failure in done.failures:
        _note(settings, PROGRAM, failure, now)
    if not done.failures:
        _well(database, PROGRAM, f"{done.added} bars", now)
    if done.clock_is_right:  # by one that is ahead everything is old
        database.forget(before=now - settings.retention)
    return 1 if done.failures else 0


def _infer(settings: DeviceSettings, now: datetime) -> int:
    """Forecast every symbol from the database, and join what came of earlier forecasts."""
    from edge_bundle.device.infer import PROGRAM, infer
    from edge_bundle.device.models import installed_model
    from edge_bundle.device.update import stopped

    database = DeviceDatabase(settings.database)
    model = installed_model(settings)
    silent = stopped(database, model.released.sha256)
    done = infer(database, model.forecaster, now=now, stopped=silent)
    for forecast in done.forecasts:
        sys.stdout.write(json.dumps(forecast.to_dict()) + "\n")
    abstained = sum(forecast.abstention is not None for forecast in done.forecasts)
    told = f"{len(done.forecasts)} symbols, {abstained} of them abstained, {done.outcomes} outcomes"
    _well(database, PROGRAM, told, now)
    return 0


def _news(settings: DeviceSettings, now: datetime) -> int:
    """Read feeds and NewsAPI, score what is new, and tell the mood of each hour."""
    from edge_bundle.device.models import installed_manifest
    from edge_bundle.device.news import NEWS_API_HEADER, PROGRAM, News, named_feeds, named_method
    from edge_bundle.device.venue import base_and_quote
    from edge_bundle.device.web import Web

    database = DeviceDatabase(settings.database)
    key = settings.newsapi_key
    news = News(
        database,
        named_feeds(settings.news_feeds),
        Web("NewsAPI", settings.newsapi_url, headers={NEWS_API_HEADER: key}) if key else None,
        named_method(settings.news_method),
        {symbol: base_and_quote(symbol)[0] for symbol in installed_manifest(settings).symbols},
        settings.retention,
        lambda: datetime.now(UTC),
    )
    done = news.run()
    for failure in done.failures:
        _note(settings, PROGRAM, failure, now)
    if len(done.failures) < news.sources or not news.sources:
        _well(database, PROGRAM, f"{done.added} articles, {done.hours} hours", now)
    return 1 if done.failures else 0


def _alerts(settings: DeviceSettings, now: datetime) -> int:
    """Tell a person of sure forecasts and of trouble, where a channel is set."""
    from edge_bundle.device.alerts import PROGRAM, channels_of, raise_alerts
    from edge_bundle.device.models import installed_manifest

    database, channels = DeviceDatabase(settings.database), channels_of(settings)
    if not channels:
        _well(database, PROGRAM, "no channel is set", now)
        return 0
    done = raise_alerts(settings, database, installed_manifest(settings).symbols, channels, now=now)
    for failure in done.failures:
        _note(settings, PROGRAM, failure, now)
    if not done.failures:
        _well(database, PROGRAM, f"{done.alerts} new alerts", now)
    return 1 if done.failures else 0


def _update(settings: DeviceSettings, now: datetime) -> int:
    """Install the platform's newest signed model, or take back one that fails; heed its stop orders."""
    from edge_bundle.device.update import PROGRAM, Updater, trusted_keys
    from edge_bundle.device.web import Web

    if not settings.platform_url:
        raise SettingsRefusedError("platform_url is not set: where should a newer model come from?")
    database = DeviceDatabase(settings.database)
    headers = {"Authorization": f"Bearer {settings.platform_key}"} if settings.platform_key else {}
    updater = Updater(
        database,
        Web("the platform", settings.platform_url, headers=headers),
        settings.releases,
        settings.model,
        trusted_keys(Path(settings.trusted_keys)),
    )
    heard = _heard(settings, updater.heed, now)
    done = updater.watch(now) or updater.run(now)
    _well(database, PROGRAM, f"{done}; {heard}" if heard else done, now)
    return 0


def _heard(settings: DeviceSettings, heed: Callable[[datetime], str | None], now: datetime) -> str | None:
    """Heed a stop order; one that is refused is a trouble, and keeps no model from its update."""
    try:
        return heed(now)
    except ReleaseRefusedError as error:
        _note(settings, "update", f"{error}", now)
        return None


def _etl(settings: DeviceSettings, now: datetime) -> int:
    """Write finished days as CSV and Parquet, and send them on."""
    from edge_bundle.device.export import PROGRAM, Export, destination
    from edge_bundle.device.models import installed_manifest

    database = DeviceDatabase(settings.database)
    export = Export(database, settings.exports, installed_manifest(settings).symbols)
    to = destination(settings, clock=lambda: datetime.now(UTC))
    sent = export.run(to, now=now)
    export.forget(older_than=settings.retention, now=now)
    _well(database, PROGRAM, f"{sent} days sent", now)
    return 0


def _dashboard(settings: DeviceSettings, _now: datetime) -> int:
    """Serve the page until it is ended."""
    import uvicorn

    from edge_bundle.device.dashboard import dashboard_app

    uvicorn.run(
        dashboard_app(settings, clock=lambda: datetime.now(UTC)),
        host=settings.dashboard_host,
        port=settings.dashboard_port,
        access_log=False,
        log_level="warning",
    )
    return 0


def _selftest(settings: DeviceSettings, _now: datetime) -> int:
    """Replay the golden rows of the installed model on this machine."""
    from edge_bundle.device.models import installed_model

    result = installed_model(settings).forecaster.selftest()
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    return 0 if result.passed else 1


def _bench(settings: DeviceSettings, _now: datetime) -> int:
    """Measure a forecast on this device by its steps, memory, temperature and throttling, as JSON."""
    from edge_bundle.device.bench import bench
    from edge_bundle.device.models import installed_model

    database = DeviceDatabase(settings.database)
    done = bench(database, installed_model(settings).forecaster, rounds=BENCH_ROUNDS)
    sys.stdout.write(json.dumps(asdict(done), indent=1) + "\n")
    return 0


def _status(settings: DeviceSettings, now: datetime) -> int:
    """Show bars, gaps, model, machine, and the troubles of the last day, as JSON."""
    from edge_bundle.device.health import reading
    from edge_bundle.device.models import installed_model
    from edge_bundle.device.update import stopped

    database = DeviceDatabase(settings.database)
    model = installed_model(settings)
    symbols = model.forecaster.manifest.symbols
    extents = {symbol: database.extent(symbol) for symbol in symbols}
    told = {
        "model": {"name": settings.model, **asdict(model.released)},
        "stopped": stopped(database, model.released.sha256),
        "newest_bar": {
            symbol: extent[1].isoformat() if extent else None for symbol, extent in extents.items()
        },
        "gaps": [asdict(gap) for gap in database.gaps(symbols)],
        "machine": asdict(reading(settings.home)),
        "troubles": [
            {**asdict(trouble), "at": trouble.at.isoformat()}
            for trouble in database.troubles(since=now - TROUBLES_SHOWN)
        ],
    }
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    return 0


def _doctor(settings: DeviceSettings, now: datetime) -> int:
    """Look at clock, disk, network, permissions, model and programs, and say what to do."""
    from edge_bundle.device.health import examined

    sick = 0
    for finding in examined(settings, now=now):
        sick += not finding.well
        cure = "" if finding.well else f"\n      → {finding.cure}"
        sys.stdout.write(f"{'ok  ' if finding.well else 'SICK'}  {finding.subject}: {finding.told}{cure}\n")
    return 1 if sick else 0


def _well(database: DeviceDatabase, program: str, told: str, now: datetime) -> None:
    database.mark(ran_well(program), told, now=now)
    sys.stderr.write(f"{program}: {told}\n")


def _note(settings: DeviceSettings, program: str, what: str, now: datetime) -> None:
    sys.stderr.write(f"{program}: {what}\n")
    with suppress(DatabaseRefusedError):  # then it is the trouble, and a program that needs it says so
        DeviceDatabase(settings.database).note_trouble(program, what, now=now)


_PROGRAMS: Mapping[str, Callable[[DeviceSettings, datetime], int]] = {
    "harvest": _harvest,
    "infer": _infer,
    "news": _news,
    "alerts": _alerts,
    "update": _update,
    "etl": _etl,
    "dashboard": _dashboard,
    "selftest": _selftest,
    "bench": _bench,
    "status": _status,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(main())
