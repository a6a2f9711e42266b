"""TextBlob behind the interface."""

from cryptoai_assets.lib.sentiment_methods.textblob_polarity import TextBlobSentiment


def test_textblob_tells_the_sides_apart() -> None:
    said = TextBlobSentiment().scores(["A great success", "A terrible loss", "The meeting is on Friday", ""])
    assert [one.label for one in said] == ["positive", "negative", "neutral", "neutral"]
    assert {(one.method, one.version) for one in said} == {("textblob", "0.20.1")}
