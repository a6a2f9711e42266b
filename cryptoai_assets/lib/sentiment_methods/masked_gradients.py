"""Pretraining an encoder of texts further by gradients, which only trains: it guesses hidden pieces."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cryptoai_assets.lib.sentiment_methods.encoder import NORM_EPSILON, EncoderWeights, width
from cryptoai_assets.lib.sentiment_methods.encoder_gradients import Descent, EncoderModule
from cryptoai_assets.lib.sentiment_methods.masked_problem import PretrainingProblem
from cryptoai_assets.lib.sentiment_methods.tuning_problem import AfterEpoch, Progress, batches

_ENCODER = "encoder."


def pretrained_further(problem: PretrainingProblem, *, after_epoch: AfterEpoch) -> EncoderWeights:
    """Weights by the names of those to begin with, after all epochs."""
    settings, random = problem.settings, np.random.default_rng(problem.seed)
    with torch.random.fork_rng():
        torch.manual_seed(problem.seed)
        guesser = _Guesser(problem.start, dropout=settings.dropout)
        rates = {
            name: settings.rate if name.startswith(_ENCODER) else settings.head_rate
            for name, _ in guesser.named_parameters()
        }
        descent = Descent(guesser, rates, decay=settings.decay, steps=problem.steps)
        for epoch in range(1, settings.epochs + 1):
            losses = []
            for rows in batches(problem.pieces, settings.batch, random):
                hidden = problem.hidden(rows, random)
                guesses = descent.said(torch.from_numpy(hidden.shown), torch.from_numpy(hidden.places))
                # A batch of which nothing is hidden teaches nothing.
                loss = functional.cross_entropy(guesses, torch.from_numpy(hidden.wanted), reduction="sum")
                descent.learn(loss / max(1, len(hidden.wanted)))
                losses.append((float(loss.detach()), len(hidden.wanted)))
            told = np.sum(losses, axis=0)
            after_epoch(Progress("guessing", epoch, settings.epochs, float(told[0] / max(1, told[1]))))
    state = guesser.encoder.state_dict()
    return {name: state[name].numpy().copy() for name in problem.start}


class _Guesser(nn.Module):
    """The encoder, and layers that tell which piece stands at a place by the encoder's own words."""

    def __init__(self, weights: EncoderWeights, *, dropout: float) -> None:
        super().__init__()
        size = width(weights)
        self.encoder = EncoderModule(weights, dropout=dropout)
        # Not asked for a label, and no step moves it.
        self.encoder.head.requires_grad_(False)
        self.dense, self.norm = nn.Linear(size, size), nn.LayerNorm(size, NORM_EPSILON)
        self.bias = nn.Parameter(torch.zeros(len(weights["words.weight"])))
        nn.init.eye_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        """(guesses, words) logits at the places of pieces (texts, pieces)."""
        made = self.norm(functional.gelu(self.dense(self.encoder.read(ids)[places])))
        logits: Tensor = made @ self.encoder.words.weight.T + self.bias
        return logits
