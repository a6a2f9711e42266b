"""Alerts of the device: sure forecasts and trouble reach a person, each matter once in a while."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.installed_device import CLOSED, SYMBOLS, installed_device, walked_bars, with_bars
from fakes.mail_server import mail_server
from fakes.scripted_server import scripted_server
from fakes.slack_server import Answer, SlackServer, slack_server

from edge_bundle.device.alerts import PROGRAM, TROUBLE_FOR, Raised, channels_of, raise_alerts
from edge_bundle.device.database import DeviceDatabase, ran_well
from edge_bundle.device.infer import infer
from edge_bundle.device.models import installed_model
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.forecast import Forecast

MINUTE = timedelta(minutes=1)
NOTHING = Raised(0, ())


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as running:
        yield running


@pytest.fixture
def settings(slack: SlackServer, tmp_path: Path) -> DeviceSettings:
    return replace(installed_device(tmp_path), slack_url=slack.url, alert_probability=0.7)


@pytest.fixture
def database(settings: DeviceSettings) -> DeviceDatabase:
    return with_bars(settings, walked_bars())


@pytest.fixture
def forecast(settings: DeviceSettings, database: DeviceDatabase) -> Forecast:
    return infer(database, installed_model(settings).forecaster, now=CLOSED).forecasts[0]


def forecast_of(forecast: Forecast, *probabilities: float, minutes: int = 1) -> Forecast:
    """The forecast of a later bar, with these probabilities of rising."""
    horizons = tuple(
        replace(horizon, probability_up=probability)
        for horizon, probability in zip(forecast.horizons, probabilities, strict=True)
    )
    times = {
        "open_time": forecast.open_time + minutes * MINUTE,
        "known_at": forecast.known_at + minutes * MINUTE,
    }
    return replace(forecast, horizons=horizons, **times)


def raised(settings: DeviceSettings, database: DeviceDatabase, minutes: int) -> Raised:
    return raise_alerts(settings, database, SYMBOLS, channels_of(settings), now=CLOSED + minutes * MINUTE)


def titles(slack: SlackServer) -> list[str]:
    return [message["text"].partition(": The model")[0] for message in slack.posted]


def test_sure_forecast_is_told_once_in_a_while_and_for_each_direction(
    settings: DeviceSettings, database: DeviceDatabase, forecast: Forecast, slack: SlackServer
) -> None:
    sayings = {1: (0.6, 0.75, 0.5), 6: (0.6, 0.8, 0.5), 11: (0.1, 0.5, 0.8), 61: (0.5, 0.9, 0.5)}
    for minute, probabilities in sayings.items():
        made = forecast_of(forecast, *probabilities, minutes=minute)
        database.add_forecast(made, made_at=CLOSED + minute * MINUTE)
        raised(settings, database, minute + 1)
        raised(settings, database, minute + 2)
    symbol = forecast.symbol
    assert titles(slack) == [
        f"{symbol}: up with 75%",
        f"{symbol}: down with 90%",
        f"{symbol}: up with 90%",
    ]


def test_unsure_old_and_future_forecasts_are_no_news(
    settings: DeviceSettings, database: DeviceDatabase, forecast: Forecast, slack: SlackServer
) -> None:
    database.add_forecast(forecast_of(forecast, 0.69, 0.31, 0.5), made_at=CLOSED + MINUTE)
    assert raised(settings, database, 2) == NOTHING
    sure = forecast_of(forecast, 0.9, 0.9, 0.9, minutes=2)
    database.add_forecast(sure, made_at=CLOSED + 2 * MINUTE)
    assert raised(settings, database, 13) == NOTHING
    assert raised(settings, database, 1) == NOTHING
    assert slack.requests == 0


def test_each_symbol_is_looked_at(
    settings: DeviceSettings, database: DeviceDatabase, forecast: Forecast, slack: SlackServer
) -> None:
    other = replace(forecast_of(forecast, 0.1, 0.1, 0.1), symbol=SYMBOLS[1])
    database.add_forecast(forecast_of(forecast, 0.5, 0.5, 0.5), made_at=CLOSED + MINUTE)
    database.add_forecast(other, made_at=CLOSED + MINUTE)
    raised(settings, database, 2)
    assert titles(slack) == [f"{SYMBOLS[1]}: down with 90%"]


def test_trouble_that_lasts_is_told_and_one_that_is_over_is_not(
    settings: DeviceSettings, database: DeviceDatabase, slack: SlackServer
) -> None:
    database.note_trouble("etl", "no route", now=CLOSED)
    database.note_trouble("update", "wrong key", now=CLOSED)
    database.note_trouble(PROGRAM, "slack did not take it", now=CLOSED)
    database.mark(ran_well("etl"), "sent", now=CLOSED + MINUTE)
    assert raised(settings, database, 2) == Raised(1, ())
    assert "The device is not well: update: wrong key" in slack.posted[0]["text"]
    assert raised(settings, database, 59) == NOTHING
    database.note_trouble("update", "wrong key still", now=CLOSED + 61 * MINUTE)
    assert raised(settings, database, 62) == Raised(1, ())
    assert raised(settings, database, 62 + TROUBLE_FOR // MINUTE) == NOTHING


def test_program_that_no_longer_runs_is_told(
    settings: DeviceSettings, database: DeviceDatabase, slack: SlackServer
) -> None:
    database.mark(ran_well("harvest"), "2 bars", now=CLOSED)
    assert raised(settings, database, 5) == NOTHING
    assert raised(settings, database, 6) == Raised(1, ())
    assert "harvest" in slack.posted[0]["text"]
    assert "cryptoai-edge@harvest.timer" in slack.posted[0]["text"]


def test_message_that_was_not_taken_is_sent_again(
    settings: DeviceSettings, database: DeviceDatabase, slack: SlackServer
) -> None:
    slack.will_answer(Answer(503))
    database.note_trouble("update", "wrong key", now=CLOSED)
    done = raised(settings, database, 1)
    assert (done.alerts, "503" in done.failures[0]) == (1, True)
    assert raised(settings, database, 3) == NOTHING
    assert len(slack.posted) == 1


def test_pause_of_a_clock_that_was_ahead_is_none(settings: DeviceSettings, database: DeviceDatabase) -> None:
    database.note_trouble("update", "wrong key", now=CLOSED + timedelta(days=1))
    raised(settings, database, 24 * 60)
    database.note_trouble("update", "wrong key", now=CLOSED)
    assert raised(settings, database, 1) == Raised(1, ())


def test_damaged_database_is_told_once_in_a_while_with_what_still_waits(
    settings: DeviceSettings, database: DeviceDatabase, slack: SlackServer
) -> None:
    slack.will_answer(Answer(503))
    database.note_trouble("update", "wrong key", now=CLOSED)
    raised(settings, database, 1)
    database.path.write_bytes(b"no database at all" * 100)
    assert [raised(settings, database, minutes).alerts for minutes in (2, 3, 61, 62)] == [1, 0, 0, 1]
    told = [message["text"] for message in slack.posted]
    assert [("wrong key" in text, "move the file away" in text) for text in told] == [
        (True, False),
        (False, True),
        (False, True),
    ]


def test_damaged_database_is_told_though_a_clock_was_ahead(
    settings: DeviceSettings, database: DeviceDatabase
) -> None:
    database.path.write_bytes(b"no database at all" * 100)
    assert [raised(settings, database, minutes).alerts for minutes in (24 * 60, 1, 2)] == [1, 1, 0]


def test_database_that_takes_nothing_more_is_told_and_no_other_matter_every_time(
    settings: DeviceSettings, database: DeviceDatabase, slack: SlackServer
) -> None:
    database.note_trouble("update", "wrong key", now=CLOSED)
    with database.connection() as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON marks BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
    assert [raised(settings, database, minutes).alerts for minutes in (1, 2, 3)] == [1, 0, 0]
    assert ["disk is full" in message["text"] for message in slack.posted] == [True]


def test_without_a_channel_nobody_is_told(settings: DeviceSettings) -> None:
    assert channels_of(replace(settings, slack_url="")) == ()


def test_a_person_is_told_on_every_channel_that_is_set(
    settings: DeviceSettings, database: DeviceDatabase, slack: SlackServer
) -> None:
    database.note_trouble("update", "wrong key", now=CLOSED)
    with scripted_server() as hook, mail_server() as mail:
        every = replace(
            settings,
            webhook_url=f"{hook.url}/alerts",
            mail_server=mail.url,
            mail_from="pi@home.test",
            mail_to=("me@home.test",),
        )
        assert raised(every, database, 1) == Raised(1, ())
    assert (len(slack.posted), hook.asked) == (1, ["/alerts"])
    [message] = mail.taken
    assert "wrong key" in message.get_body(("plain",)).get_content()
