"""VADER behind the interface: its compound as shares, its threshold as ours."""

from edge_bundle.sentiment.vader import VaderSentiment


def test_vader_tells_the_sides_apart() -> None:
    said = VaderSentiment.load().scores(
        ["A great day for bitcoin!", "A horrible loss", "The meeting is on Friday", ""]
    )
    assert [one.label for one in said] == ["positive", "negative", "neutral", "neutral"]
    assert {(one.method, one.version) for one in said} == {("vader", "3.3.2")}


def test_vader_reads_no_address() -> None:
    plain, linked = VaderSentiment.load().scores(["Shares fell", "Shares fell https://x.test/great-win"])
    assert plain == linked
