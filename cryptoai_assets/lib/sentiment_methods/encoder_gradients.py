"""Tuning an encoder of texts by gradients: the door to PyTorch for texts, which only trains.

Forward and backward are in bfloat16 on processors that multiply it; the weights are float32.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from cryptoai_assets.lib.sentiment_methods.encoder import (
    HEAD_SIZE,
    NORM_EPSILON,
    EncoderWeights,
    layer_count,
    width,
)
from cryptoai_assets.lib.sentiment_methods.tuning_problem import (
    AfterEpoch,
    Progress,
    TuningProblem,
    TuningSettings,
    batches,
    padded,
)
from edge_bundle.sentiment.method import LABELS
from edge_bundle.sentiment.transformer import PADDING
from edge_bundle.windows import Float32Array

LONGEST_GRADIENT = 1.0
RISING_SHARE = 0.1
# Steps between two looks of the moving average.
AVERAGED_STEPS = 10
_NOWHERE = -1e4
_MEANT_BATCH = 256


def tuned_weights(problem: TuningProblem, *, after_epoch: AfterEpoch) -> EncoderWeights:
    """Moving average of the weights after all epochs, with those of the new last layer as ``head``."""
    random = np.random.default_rng(problem.seed)
    with torch.random.fork_rng():
        torch.manual_seed(problem.seed)
        module = EncoderModule(problem.start, dropout=problem.settings.dropout)
        run = _Tuning(module, problem.settings, steps=problem.steps)
        told = _told(torch.from_numpy(problem.labels), problem.settings.smoothing)
        said = told
        for epoch in range(1, problem.settings.epochs + 1):
            targets, losses = told.lerp(said, problem.settings.said_before(epoch)), []
            said = torch.empty_like(told)
            for rows in batches(problem.pieces, problem.settings.batch, random):
                ids = torch.from_numpy(padded([problem.pieces[row] for row in rows]))
                loss, said[rows] = run.step(ids, targets[rows])
                losses.append(loss)
            after_epoch(Progress("tuning", epoch, problem.settings.epochs, float(np.mean(losses))))
        return run.averages()


def meanings(weights: EncoderWeights, pieces: list[list[int]]) -> Float32Array:
    """(texts, width) mean of what an encoder makes of the pieces of each text, of length 1.

    In float32 on every processor, whose roundings then turn hardly any comparison of two texts.
    """
    module = EncoderModule(weights, dropout=0.0).eval()
    made = np.empty((len(pieces), width(weights)), dtype=np.float32)
    by_length = np.argsort([len(row) for row in pieces], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(pieces), _MEANT_BATCH):
            rows = by_length[start : start + _MEANT_BATCH]
            ids = torch.from_numpy(padded([pieces[row] for row in rows]))
            made[rows] = functional.normalize(module.meaning(ids), dim=1).numpy()
    return made


class EncoderModule(nn.Module):
    """The encoder of `cryptoai_assets.lib.sentiment_methods.encoder`, with its names, and a last layer.

    Its words are not learnt: what few texts say of a rare one is no better than it was.
    """

    def __init__(self, weights: EncoderWeights, *, dropout: float) -> None:
        super().__init__()
        size = width(weights)
        self.words = nn.Embedding(*weights["words.weight"].shape)
        self.places = nn.Embedding(*weights["places.weight"].shape)
        self.kinds = nn.Embedding(*weights["kinds.weight"].shape)
        self.norm = nn.LayerNorm(size, NORM_EPSILON)
        self.layers = nn.ModuleList(
            _Layer(size, len(weights["layers.0.up.bias"]), dropout) for _ in range(layer_count(weights))
        )
        self.dropout = _Dropout(dropout)
        self.head = nn.Linear(size, len(LABELS))
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        given = {name: torch.tensor(values) for name, values in weights.items()}
        self.load_state_dict({**self.state_dict(), **given})
        self.words.weight.requires_grad_(False)

    def forward(self, ids: Tensor) -> Tensor:
        """(texts, 3) logits of pieces (texts, pieces)."""
        logits: Tensor = self.head(self.dropout(self.meaning(ids)))
        return logits

    def meaning(self, ids: Tensor) -> Tensor:
        """(texts, width) mean over the pieces of a text."""
        values = self.read(ids)
        weights = (ids != PADDING).unsqueeze(2).to(values.dtype)
        mean: Tensor = (values * weights).sum(dim=1) / weights.sum(dim=1)
        return mean

    def read(self, ids: Tensor) -> Tensor:
        """(texts, pieces, width) what each piece is made into beside the others."""
        there = ids != PADDING
        values = self.words(ids) + self.places.weight[: ids.shape[1]] + self.kinds.weight[0]
        values = self.dropout(self.norm(values))
        nowhere = torch.zeros(there.shape, dtype=values.dtype).masked_fill(~there, _NOWHERE)
        for layer in self.layers:
            values = layer(values, nowhere[:, None, None])
        made: Tensor = values
        return made


class _Layer(nn.Module):
    def __init__(self, size: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.asked, self.known, self.told, self.mixed = (nn.Linear(size, size) for _ in range(4))
        self.after_attention = nn.LayerNorm(size, NORM_EPSILON)
        self.up, self.down = nn.Linear(size, inner), nn.Linear(inner, size)
        self.after_dense = nn.LayerNorm(size, NORM_EPSILON)
        self.dropout = _Dropout(dropout)

    def forward(self, values: Tensor, hidden: Tensor) -> Tensor:
        # each (texts, heads, pieces, size)
        asked, known, told = (
            part(values).unflatten(2, (-1, HEAD_SIZE)).transpose(1, 2)
            for part in (self.asked, self.known, self.told)
        )
        # By hand: what PyTorch offers for it is slower backwards on a processor.
        fit = asked @ known.transpose(2, 3) * HEAD_SIZE**-0.5 + hidden
        mixed = fit.softmax(dim=3) @ told
        values = self.after_attention(values + self.dropout(self.mixed(mixed.transpose(1, 2).flatten(2))))
        inner = functional.gelu(self.up(values))
        after: Tensor = self.after_dense(values + self.dropout(self.down(inner)))
        return after


class _Dropout(nn.Module):
    """Dropout that leaves out the same numbers of all pieces of a text, which draws few random numbers.

    Source: Gal and Ghahramani, A Theoretically Grounded Application of Dropout, NeurIPS 2016.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or not self.share:
            return values
        shape = (len(values), *[1] * (values.ndim - 2), values.shape[-1])
        kept = (torch.rand(shape) >= self.share).to(values.dtype)
        return values * (kept / (1 - self.share))


class Descent:
    """Steps along a rate that rises over a tenth of them and falls to 0.

    Learnt are the parameters of a module that ask for gradients, in float32 whatever they are computed in.
    """

    def __init__(self, module: nn.Module, rates: Mapping[str, float], *, decay: float, steps: int) -> None:
        self._module, self._steps, self._done = module.train(), steps, 0
        self._computed = _computed_in()
        parameters = dict(module.named_parameters())
        self.free = {name: values for name, values in parameters.items() if values.requires_grad}
        self._fixed = {
            name: values.to(self._computed) for name, values in parameters.items() if name not in self.free
        }
        self._optimizer = torch.optim.AdamW(
            [
                {
                    "params": [values],
                    "rate": rates[name],
                    "weight_decay": decay if values.ndim > 1 else 0.0,
                }
                for name, values in self.free.items()
            ],
            fused=True,
        )

    def said(self, *given: Tensor) -> Tensor:
        """What the module makes of what it is given, in float32."""
        rounded = {name: values.to(self._computed) for name, values in self.free.items()}
        made: Tensor = functional_call(self._module, {**rounded, **self._fixed}, given)
        return made.float()

    def learn(self, loss: Tensor) -> None:
        """A step down a loss of what was said."""
        done = self._done / self._steps
        height = min(done / RISING_SHARE, (1 - done) / (1 - RISING_SHARE))
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * height
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.free.values(), LONGEST_GRADIENT)
        self._optimizer.step()
        self._done += 1


class _Tuning:
    """A tuning under way."""

    def __init__(self, module: EncoderModule, settings: TuningSettings, *, steps: int) -> None:
        self._settings, self._steps, self._done = settings, steps, 0
        self._averages = {name: values.detach().clone() for name, values in module.named_parameters()}
        rates = {
            name: settings.head_rate if name.startswith("head.") else settings.rate for name in self._averages
        }
        self._descent = Descent(module, rates, decay=settings.decay, steps=steps)

    def step(self, ids: Tensor, targets: Tensor) -> tuple[float, Tensor]:
        """Learn from a batch; the loss, and (texts, 3) what was said of it, before.

        Parameters
        ----------
        targets
            (texts, 3) probabilities.
        """
        readings = 2 if self._settings.agreement else 1
        logits = self._descent.said(ids.repeat(readings, 1))
        loss = functional.cross_entropy(logits, targets.repeat(readings, 1))
        if self._settings.agreement:
            loss = loss + self._settings.agreement * _apart(*logits.log_softmax(dim=1).chunk(2))
        self._descent.learn(loss)
        self._done += 1
        if self._done % AVERAGED_STEPS == 0 or self._done == self._steps:
            self._average()
        said = logits.detach().softmax(dim=1).reshape(readings, *targets.shape).mean(dim=0)
        return float(loss.detach()), said

    def _average(self) -> None:
        with torch.no_grad():
            for name, values in self._descent.free.items():
                self._averages[name].lerp_(values, 1 - self._settings.averaged)

    def averages(self) -> dict[str, Float32Array]:
        """Moving averages of the weights as they are."""
        return {name: values.numpy().copy() for name, values in self._averages.items()}


def _told(labels: Tensor, smoothing: float) -> Tensor:
    """(texts, 3) probabilities that the labels tell."""
    return functional.one_hot(labels, len(LABELS)).float() * (1 - smoothing) + smoothing / len(LABELS)


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Mean over the texts of the Kullback-Leibler divergence of two readings, each from the other.

    Parameters
    ----------
    one, other
        (texts, 3) logarithms of probabilities.
    """
    return ((one - other) * (one.exp() - other.exp())).sum(dim=1).mean() / 2


def _computed_in() -> torch.dtype:
    """What forward and backward are in: bfloat16 takes longer where the processor does not multiply it."""
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("amx_bf16") or able.get("avx512_bf16") else torch.float32
