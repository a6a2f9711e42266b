"""Which failed checks are told: once a day while they fail, and at once when they fail anew."""

from cryptoai_assets.lib.watch import untold_failures

FIRST, SECOND = "2019-09-30", "2019-10-01"


def test_check_that_fails_is_told_once_a_day_until_it_holds() -> None:
    told, untold = untold_failures({}, {"fresh": "3 days old", "unique": None}, FIRST)
    assert (told, untold) == ({"fresh": FIRST}, {"fresh": "3 days old"})
    assert untold_failures(told, {"fresh": "3 days old"}, FIRST) == (told, {})
    assert untold_failures(told, {"fresh": "4 days old"}, SECOND) == (
        {"fresh": SECOND},
        {"fresh": "4 days old"},
    )
    held, nothing = untold_failures(told, {"fresh": None}, FIRST)
    assert (held, nothing) == ({}, {})
    assert untold_failures(held, {"fresh": "1 day old"}, FIRST)[1] == {"fresh": "1 day old"}


def test_run_without_a_check_says_nothing_of_it_and_a_late_word_of_the_day_before_is_not_told() -> None:
    told = {"fresh": SECOND}
    assert untold_failures(told, {"unique": "2 rows"}, SECOND) == (
        {"fresh": SECOND, "unique": SECOND},
        {"unique": "2 rows"},
    )
    assert untold_failures(told, {"fresh": "3 days old"}, FIRST) == (told, {})
