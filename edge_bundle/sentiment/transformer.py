"""Our transformer: a small encoder, fine-tuned on labelled headlines and tweets, in INT8."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from edge_bundle.errors import BundleRefusedError
from edge_bundle.manifest import file_sha256
from edge_bundle.sentiment.method import Sentiment, plain_text
from edge_bundle.session import ModelSession

WEIGHTS = Path(__file__).parent / "weights"
GRAPH_NAME = "encoder.onnx"
WORDS_NAME = "tokenizer.json"
RECORD_NAME = "record.json"
PROBABILITIES = "probabilities"
# Headlines are 12 to 40 pieces of words long; what a longer text says first counts.
MOST_PIECES = 64
# Number of the piece that fills up the shorter texts of a batch.
PADDING = 0
_NEUTRAL = (0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class TransformerSentiment:
    """A loaded encoder; a `SentimentMethod`."""

    _session: ModelSession
    _words: Tokenizer
    version: str
    name: str = "transformer"

    @classmethod
    def load(cls, folder: Path = WEIGHTS, *, threads: int = 1) -> Self:
        """Load weights: those that are shipped, or others of the same form.

        Raises
        ------
        BundleRefusedError
            When a file is absent, or is not the one that the record promises.
        """
        try:
            promised = json.loads((folder / RECORD_NAME).read_text())["files"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleRefusedError(f"{folder.name} holds no record of a sentiment encoder") from error
        for name in (GRAPH_NAME, WORDS_NAME):
            if not (folder / name).is_file() or file_sha256(folder / name) != promised.get(name):
                raise BundleRefusedError(f"{name} is not the file that the record promises: install it again")
        session = ModelSession.open(folder / GRAPH_NAME, threads=threads)
        return cls(session, word_table(folder / WORDS_NAME), promised[GRAPH_NAME][:12])

    def scores(self, texts: Sequence[str]) -> list[Sentiment]:
        """See `SentimentMethod.scores`."""
        return [
            Sentiment(float(negative), float(neutral), float(positive), self.name, self.version)
            for negative, neutral, positive in self.probabilities(texts)
        ]

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(texts, 3) shares of negative, neutral and positive.

        Each text goes through the graph alone: INT8 takes its scale from what it is given, so that in company
        the same text would get other digits.
        """
        said = np.empty((len(texts), 3), dtype=np.float32)
        for place, pieces in enumerate(piece_ids(self._words, texts)):
            said[place] = self._session.run(np.array([pieces]))[PROBABILITIES] if pieces else _NEUTRAL
        said[[place for place, text in enumerate(texts) if not text.strip()]] = _NEUTRAL
        return said


def word_table(file: Path) -> Tokenizer:
    """Table that cuts words into pieces, `MOST_PIECES` of a text at most."""
    words = Tokenizer.from_file(str(file))
    words.no_padding()
    words.enable_truncation(MOST_PIECES)
    return words


def piece_ids(words: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Numbers of the pieces of each text, as the encoder reads it."""
    return [encoding.ids for encoding in words.encode_batch([plain_text(text) for text in texts])]
