"""Texts that people have labelled: where they are read from, near-duplicates, and splits by text.

The texts are never shipped and never logged; what is kept of them is hashes.
"""

import ast
import csv
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

from edge_bundle.sentiment.method import LABELS, plain_text
from edge_bundle.windows import Float32Array

HEADLINES, TWEETS = "sentfin.csv", "twitter_financial_news_train.csv"
NEAR_DUPLICATE = 0.9
_ENTITY = re.compile(r"""(?:'([^:]*?)'|"([^:]*?)")\s*:\s*'(\w+)'""")
# Of the tweets: bearish, bullish, neutral.
_TWEET_LABELS = {"0": "negative", "1": "positive", "2": "neutral"}
_COMPARED_ROWS = 512


class LabelledTextError(Exception):
    """A file of labelled texts is not of the form that is asked for."""


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text, and the place of its label in `edge_bundle.sentiment.method.LABELS`."""

    text: str
    label: int


@dataclass(frozen=True, slots=True)
class Headlines:
    """Headlines by what they speak of.

    Parameters
    ----------
    single
        Of one entity, whose label is the headline's.
    agreeing
        Of several entities with one label.
    opposed
        Of several entities with different labels: one text an entity, led by its name.
    """

    single: tuple[LabelledText, ...]
    agreeing: tuple[LabelledText, ...]
    opposed: tuple[LabelledText, ...]


def headlines(file: Path) -> Headlines:
    """SEntFiN's headlines; of equal titles the first.

    Source: Sinha et al., SEntFiN 1.0: Entity-aware sentiment analysis for financial news, JASIST 2022; MIT.

    Raises
    ------
    LabelledTextError
        When a column is absent or a label is unknown.
    """
    single, agreeing, opposed, seen = [], [], [], set()
    for row in _rows(file, ("Title", "Decisions")):
        title, decisions = plain_text(row["Title"]), _decisions(row["Decisions"])
        if not decisions or title.lower() in seen:
            continue
        seen.add(title.lower())
        labels = {entity: _place(label, file) for entity, label in decisions.items()}
        if len(labels) == 1:
            single.append(LabelledText(title, *labels.values()))
        elif len(set(labels.values())) == 1:
            agreeing.append(LabelledText(title, next(iter(labels.values()))))
        else:
            opposed += [LabelledText(f"{entity}: {title}", label) for entity, label in labels.items()]
    return Headlines(tuple(single), tuple(agreeing), tuple(opposed))


def tweets(file: Path) -> tuple[LabelledText, ...]:
    """Tweets on finance with the labels 0 bearish, 1 bullish, 2 neutral; of equal texts the first.

    Raises
    ------
    LabelledTextError
        When a column is absent or a label is unknown.
    """
    return _unique(
        LabelledText(plain_text(row["text"]), _place(_TWEET_LABELS.get(row["label"], row["label"]), file))
        for row in _rows(file, ("text", "label"))
    )


def own_texts(file: Path) -> tuple[LabelledText, ...]:
    """A user's own CSV with the columns ``text`` and ``label``: negative, neutral or positive.

    Raises
    ------
    LabelledTextError
        When a column is absent or a label is unknown.
    """
    return _unique(
        LabelledText(plain_text(row["text"]), _place(row["label"].strip().lower(), file))
        for row in _rows(file, ("text", "label"))
    )


def labelled_files(place: Path) -> tuple[Path, ...]:
    """Files of labelled texts: the one that is named, or every CSV of the folder."""
    return tuple(sorted(place.glob("*.csv"))) if place.is_dir() else (place,)


def labelled_texts(place: Path) -> tuple[LabelledText, ...]:
    """Texts of a file or a folder: a user's own, or by their names SEntFiN's headlines and the tweets.

    Raises
    ------
    LabelledTextError
        When there is no file, or one is of another form.
    """
    files = labelled_files(place)
    if not files or not all(file.is_file() for file in files):
        raise LabelledTextError(f"{place.name} is no CSV of labelled texts, and no folder with one")
    return _unique(one for file in files for one in _texts_of(file))


def _texts_of(file: Path) -> tuple[LabelledText, ...]:
    if file.name == HEADLINES:
        return headlines(file).single
    return tweets(file) if file.name == TWEETS else own_texts(file)


def unread_texts(
    texts: Sequence[LabelledText],
    trained: Collection[str],
    *,
    meanings_of: Callable[[Sequence[str]], Float32Array] | None = None,
) -> tuple[LabelledText, ...]:
    """Texts of which no hash is among those that were trained on, and which are no near-duplicates.

    Neither of each other, nor of those trained texts that are among `texts`: these stand first in the order
    in which near-duplicates are left out.

    Parameters
    ----------
    meanings_of
        Gives (texts, size) of length 1, beside the words, as in `unlike_earlier`.
    """
    read = [one for one in texts if text_hash(one.text) in trained]
    unread = [one for one in texts if text_hash(one.text) not in trained]
    if not unread:
        return ()
    every = [one.text for one in (*read, *unread)]
    kept = unlike_earlier(every, meanings_of(every) if meanings_of else None)[len(read) :]
    return tuple(one for one, stays in zip(unread, kept, strict=True) if stays)


def _rows(file: Path, columns: Sequence[str]) -> Iterator[Mapping[str, str]]:
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        reader = csv.DictReader(lines)
        if absent := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise LabelledTextError(f"{file.name} has no column {absent[0]}: {', '.join(columns)} needed")
        for row in reader:
            yield {name: row[name] or "" for name in columns}


def _decisions(raw: str) -> Mapping[str, str]:
    """Labels by entity; 13 rows of the file are no Python, an apostrophe being in a name."""
    try:
        return {str(entity): str(label) for entity, label in ast.literal_eval(raw).items()}
    except (SyntaxError, ValueError):
        return {single or double: label for single, double, label in _ENTITY.findall(raw)}


def _place(label: str, file: Path) -> int:
    if label not in LABELS:
        raise LabelledTextError(f"{file.name} has the label {label[:20]!r}: {', '.join(LABELS)} are known")
    return LABELS.index(label)


def _unique(found: Iterator[LabelledText]) -> tuple[LabelledText, ...]:
    first = {one.text.lower(): one for one in reversed(list(found))}
    return tuple(reversed(first.values()))


def unlike_earlier(texts: Sequence[str], meanings: Float32Array | None = None) -> npt.NDArray[np.bool_]:
    """(texts,) whether no kept text before it is a near-duplicate: of a cosine of `NEAR_DUPLICATE` or more.

    Parameters
    ----------
    meanings
        (texts, size) of length 1, such as an encoder's, beside the TF-IDF of the words: being near in either
        is enough.
    """
    words = TfidfVectorizer(analyzer=_words_of).fit_transform(texts)
    kept = np.ones(len(texts), dtype=bool)
    for start in range(0, len(kept), _COMPARED_ROWS):
        end = min(start + _COMPARED_ROWS, len(kept))
        near = (words[start:end] @ words[:end].T).toarray() >= NEAR_DUPLICATE
        if meanings is not None:
            near |= meanings[start:end] @ meanings[:end].T >= NEAR_DUPLICATE
        for row in range(start, end):
            kept[row] = not (near[row - start, :row] & kept[:row]).any()
    return kept


def _words_of(text: str) -> list[str]:
    return text.lower().split()


def split_by_text(
    rows: int, *, share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to train on, and a random share of them to test on."""
    order = np.random.default_rng(seed).permutation(rows)
    held = round(share * rows)
    return np.sort(order[held:]), np.sort(order[:held])


def folds(rows: int, *, count: int, seed: int) -> npt.NDArray[np.int64]:
    """(rows,) number of the fold in which each is tested."""
    numbers = np.empty(rows, dtype=np.int64)
    numbers[np.random.default_rng(seed).permutation(rows)] = np.arange(rows) % count
    return numbers


def text_hash(text: str) -> str:
    """First 16 digits of the SHA-256 of a text without its case: tells whether a text was trained on."""
    return hashlib.sha256(plain_text(text).lower().encode()).hexdigest()[:16]
