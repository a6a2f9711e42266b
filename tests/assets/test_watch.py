"""Which failures are told: once a day while they last, at once when they come anew, at their end."""

from cryptoai_assets.lib.watch import News, news_of

FIRST, SECOND = "2019-09-30", "2019-10-01"


def test_what_fails_is_told_once_a_day_until_it_is_well_and_then_that_it_is() -> None:
    news = news_of({}, {"fresh": "3 days old", "unique": None}, FIRST)
    assert news == News({"fresh": "3 days old"}, (), {"fresh": FIRST})
    assert news_of(news.told, {"fresh": "3 days old"}, FIRST) == News({}, (), {"fresh": FIRST})
    assert news_of(news.told, {"fresh": "4 days old"}, SECOND) == News(
        {"fresh": "4 days old"}, (), {"fresh": SECOND}
    )
    well = news_of(news.told, {"fresh": None}, FIRST)
    assert well == News({}, ("fresh",), {})
    assert news_of(well.told, {"fresh": None}, FIRST) == News({}, (), {})
    assert news_of(well.told, {"fresh": "1 day old"}, FIRST).failed == {"fresh": "1 day old"}


def test_run_that_does_not_come_to_it_says_nothing_of_it_nor_does_a_late_word_of_the_day_before() -> None:
    told = {"fresh": SECOND}
    assert news_of(told, {"unique": "2 rows"}, SECOND) == News(
        {"unique": "2 rows"}, (), {"fresh": SECOND, "unique": SECOND}
    )
    assert news_of(told, {"fresh": "3 days old"}, FIRST) == News({}, (), told)
