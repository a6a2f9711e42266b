"""Methods side by side on unread texts, the best of them, and what the gate is told of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fakes.sentiment_releases import AS_OF

from cryptoai_assets.lib.gate import decide
from cryptoai_assets.lib.sentiment_methods import comparison
from cryptoai_assets.lib.sentiment_methods.comparison import (
    KEYWORDS,
    LEAST_TEXTS_A_SECOND,
    MAJORITY,
    MOST_SLOW_TEXTS,
    POLICY,
    Compared,
    Judged,
    brier_scores,
    compared,
    drawn_texts,
    sentiment_evidence,
    trained_hashes,
)
from cryptoai_assets.lib.sentiment_methods.label_quality import Quality
from cryptoai_assets.lib.sentiment_methods.labelled import (
    LabelledText,
    LabelledTextError,
    labelled_texts,
    text_hash,
    unread_texts,
)
from cryptoai_assets.lib.sentiment_methods.sentiment_bundle import write_sentiment_bundle
from edge_bundle.sentiment.keywords import KeywordSentiment
from edge_bundle.sentiment.method import Sentiment, SentimentMethod, SentimentUnavailableError
from edge_bundle.sentiment.release import SentimentBundle
from edge_bundle.windows import Float32Array

# Of words that the keyword method knows: 60 texts, of which it labels all rightly.
WORDS = (("falls", 0), ("meets", 1), ("rises", 2))
TEXTS = tuple(
    LabelledText(f"company{number} {word} in the {number}th week", label)
    for number in range(20)
    for word, label in WORDS
)


@dataclass(frozen=True, slots=True)
class Says:
    """Says the same of every text, or raises."""

    answer: tuple[float, float, float] = (0.2, 0.6, 0.2)
    name: str = "says"
    version: str = "1"
    fails: bool = False

    def scores(self, texts: Sequence[str]) -> list[Sentiment]:
        if self.fails:
            raise SentimentUnavailableError("the server is away")
        return [Sentiment(*self.answer, self.name, self.version) for _ in texts]


class Watch:
    """A stopwatch that runs on by as many seconds at every look."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.time = seconds, 0.0

    def __call__(self) -> float:
        self.time += self.seconds
        return self.time


def found_of(methods: dict[str, Callable[[], SentimentMethod]], seconds: float = 0.001) -> Compared:
    return compared(TEXTS, methods, stopwatch=Watch(seconds))


def test_methods_are_asked_the_same_texts_and_one_that_is_away_is_told() -> None:
    found = found_of({"keywords": KeywordSentiment, "vader": Says, "ollama": lambda: Says(fails=True)})
    assert found.absent == {"ollama": "the server is away"}
    assert [one.texts for one in found.methods] == [60, 60]
    keywords, other = found.methods
    assert keywords.quality.accuracy == 1.0
    assert other.quality.accuracy == pytest.approx(1 / 3)
    assert other.brier == pytest.approx((0.2**2 + 0.4**2 + 0.2**2) / 3 + 2 * (0.8**2 + 0.6**2 + 0.2**2) / 3)
    assert keywords.texts_a_second == pytest.approx(60 / 0.001)
    assert found.table()["method"].to_list() == ["keywords", "vader"]
    assert not any(one.text in str(found.record()) for one in TEXTS)


def test_slow_methods_are_asked_about_few_texts() -> None:
    many = [LabelledText(f"text {number}", 1) for number in range(MOST_SLOW_TEXTS + 50)]
    methods = {"ollama:gemma3": Says, "hugging_face:finbert": Says, "vader": Says}
    found = compared(many, methods, stopwatch=Watch(1))
    assert [one.texts for one in found.methods] == [MOST_SLOW_TEXTS, MOST_SLOW_TEXTS, len(many)]


def judged(name: str, macro_f1: float, rate: float) -> Judged:
    return Judged(name, "1", 10, Quality(0.5, macro_f1, {}, 0.1), 0.5, rate)


@pytest.mark.parametrize(
    ("methods", "best"),
    [
        ((judged("vader", 0.6, 1e4), judged("transformer", 0.8, 1e2)), "transformer"),
        ((judged("vader", 0.6, 1e4), judged("transformer", 0.8, LEAST_TEXTS_A_SECOND * 0.9)), "vader"),
        (
            (judged("keywords", 0.4, 1e4), judged("textblob", 0.9, 1e4), judged("ollama", 1, 99)),
            "keywords",
        ),
        ((judged("textblob", 0.9, 1e4),), None),
    ],
)
def test_best_is_the_best_that_a_device_runs_fast_enough(
    methods: tuple[Judged, ...], best: str | None
) -> None:
    found = Compared(TEXTS, methods, {}).best
    assert (found.name if found else None) == best


def test_brier_score_is_the_squared_distance_from_the_truth() -> None:
    said = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.5, 0.3]])
    assert brier_scores(said, np.array([0, 0, 1])).tolist() == pytest.approx([0, 2, 0.04 + 0.25 + 0.09])


def test_texts_that_were_trained_on_and_what_is_near_to_them_are_not_tested() -> None:
    trained = "Alpha wins a large order in May from the state"
    texts = [
        LabelledText("Beta falls", 0),
        LabelledText("beta Falls", 0),
        LabelledText("alpha wins a large order in May from the state", 2),
        LabelledText(f"{trained} ", 2),
        LabelledText("In May Alpha wins a large order from the state", 2),
        LabelledText("Gamma is flat", 1),
    ]
    found = unread_texts(texts, {text_hash(trained)})
    assert [one.text for one in found] == ["Beta falls", "Gamma is flat"]
    assert unread_texts(texts[2:4], {text_hash(trained)}) == ()

    def alike(every: Sequence[str]) -> Float32Array:
        """Gamma means what the trained text does, which stands first."""
        assert text_hash(every[0]) == text_hash(trained)
        return np.eye(2, dtype=np.float32)[[int(text.startswith("Beta")) for text in every]]

    found = unread_texts(texts, {text_hash(trained)}, meanings_of=alike)
    assert [one.text for one in found] == ["Beta falls"]


def test_draw_is_fixed_and_bounded() -> None:
    many = [LabelledText(f"text {number}", 1) for number in range(comparison.MOST_TEXTS + 100)]
    drawn = drawn_texts(many)
    assert len(drawn) == comparison.MOST_TEXTS == len(set(drawn))
    assert drawn == drawn_texts(many)
    assert drawn[:50] != tuple(many[:50])


def test_files_of_a_folder_are_read_by_their_names_and_each_text_counts_once(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text,label\nBitcoin rises,positive\n")
    (tmp_path / "twitter_financial_news_train.csv").write_text("text,label\nbitcoin rises,0\n$A down,0\n")
    (tmp_path / "sentfin.csv").write_text("Title,Decisions\nAlpha wins,{'Alpha': 'positive'}\n")
    found = labelled_texts(tmp_path)
    assert len(found) == 3
    assert {(one.text, one.label) for one in found} == {
        ("Bitcoin rises", 2),
        ("Alpha wins", 2),
        ("$A down", 0),
    }
    assert labelled_texts(tmp_path / "mine.csv") == (LabelledText("Bitcoin rises", 2),)
    for nothing in (tmp_path / "none.csv", tmp_path / "empty"):
        with pytest.raises(LabelledTextError, match="no CSV of labelled texts"):
            labelled_texts(nothing)


@pytest.fixture
def bundle(tmp_path: Path) -> SentimentBundle:
    return write_sentiment_bundle(tmp_path / "keywords", "keywords", as_of=AS_OF, git_commit="c")


@pytest.fixture
def vader(tmp_path: Path) -> SentimentBundle:
    return write_sentiment_bundle(tmp_path / "vader", "vader", as_of=AS_OF, git_commit="c")


def evidence_of(bundle: SentimentBundle, champion: SentimentBundle | None = None, **given: object):
    usual = {"texts_a_second": 1e3, "trained": frozenset[str]()}
    return sentiment_evidence(TEXTS, bundle, champion, **{**usual, **given})


def test_gate_lets_the_better_method_through_and_keeps_the_worse_one_out(
    bundle: SentimentBundle, vader: SentimentBundle
) -> None:
    evidence = evidence_of(bundle, vader)
    assert set(evidence.baselines) == {MAJORITY}
    assert set(evidence_of(vader).baselines) == {MAJORITY, KEYWORDS}
    # The keywords are right, but say less than they know: calibration is judged apart.
    kept = replace(evidence, bounds=())
    assert decide(kept, POLICY).promote
    worse = decide(replace(evidence_of(vader, bundle), bounds=()), POLICY)
    assert not worse.promote
    assert any("champion" in reason for reason in worse.reasons)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"texts_a_second": 4.0}, "seconds_a_text is 0.2500, and at least 0.2500 is shown; at most 0.2000"),
        ({"trained": frozenset({text_hash(TEXTS[3].text)})}, "1 of 60 were trained on"),
    ],
)
def test_gate_keeps_out_what_is_slow_or_was_tested_on_what_it_had_read(
    bundle: SentimentBundle, given: dict[str, object], reason: str
) -> None:
    decision = decide(evidence_of(bundle, **given), POLICY)
    assert not decision.promote
    assert any(reason in told for told in decision.reasons), decision.reasons


def test_gate_keeps_out_what_is_no_longer_what_it_was_or_hangs_on_company(bundle: SentimentBundle) -> None:
    class Moody(Says):
        def scores(self, texts: Sequence[str]) -> list[Sentiment]:
            share = 0.5 + 0.1 * (len(texts) > 1)
            return [Sentiment(share, 1 - share, 0.0, "keywords", "1") for _ in texts]

    canaries = evidence_of(replace(bundle, method=Moody())).canaries
    assert {one.name for one in canaries if not one.passed} == {
        "golden_texts_replay",
        "company_changes_nothing",
    }


def test_confidence_that_is_wrong_is_out_of_bounds(bundle: SentimentBundle) -> None:
    sure = replace(bundle, method=Says((1.0, 0.0, 0.0), "keywords"))
    [calibration, _] = evidence_of(sure).bounds
    assert calibration.value == pytest.approx(2 / 3)
    assert not calibration.kept


def test_record_of_the_shipped_weights_holds_the_hashes_of_what_they_read() -> None:
    assert len(trained_hashes()) > 10_000
