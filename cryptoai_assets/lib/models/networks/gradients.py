"""Training a network by gradients: the only door to PyTorch.

An epoch is decided by the problem, its number and what the epoch before left: a training that was killed goes
on from its last checkpoint and becomes, bit by bit, what it would have become.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cryptoai_assets.lib.fingerprints import code_fingerprint
from cryptoai_assets.lib.models.networks.last_bar import last_bar_weights
from cryptoai_assets.lib.models.networks.problem import AfterEpoch, Epoch, Solution, TrainingProblem, Windows
from cryptoai_assets.lib.models.networks.settings import LstmSettings, NetworkSettings, TransformerSettings
from cryptoai_assets.lib.models.networks.weights import (
    LAST_BAR,
    OUTPUTS,
    Weights,
    first_weights,
    positions,
)
from edge_bundle.whole_file import replacing
from edge_bundle.windows import Float32Array

STOPPING_BATCH = 1024
# Code whose change makes a checkpoint that of another training.
_CODE = ("cryptoai_assets.lib.models.networks",)
LONGEST_GRADIENT = 1.0
# PyTorch has one stream of random numbers and one number of threads for a whole process.
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True, slots=True)
class GradientSolver:
    """Adam with decoupled decay and a cosine of learning rates, on a GPU where there is one.

    Parameters
    ----------
    checkpoints
        Folder of the checkpoints, one a problem; None keeps none.
    """

    threads: int
    checkpoints: Path | None

    def __call__(self, problem: TrainingProblem, *, after_epoch: AfterEpoch) -> Solution:
        """Train until the stopping windows stop getting better, and return the weights of the best epoch.

        It begins with `last_bar_weights`, which it leaves as they are; where no epoch is better, with them
        it ends.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with deterministic(self.threads):
            run = _Run(problem, device)
            file = None if self.checkpoints is None else self.checkpoints / f"{_fingerprint(problem)}.pt"
            if file is not None and file.is_file():
                run.progress.load_state(torch.load(file, map_location=device, weights_only=True))
            while not run.finished:
                after_epoch(run.epoch())
                if file is not None:
                    save_state(run.progress.state(), file)
            weights = run.best_weights()
        return Solution(
            weights, run.progress.best_epoch, TrainedNetwork(problem.settings, weights, self.threads)
        )


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """What trained weights say of scaled windows, by PyTorch on the processor."""

    settings: NetworkSettings
    weights: Weights
    threads: int

    def __call__(self, scaled: Float32Array) -> Float32Array:
        """(rows, 3, horizons) of windows (rows, lookback, features); see `weights.head_outputs`."""
        module = NetworkModule(self.settings, self.weights).eval()
        with deterministic(self.threads), torch.inference_mode():
            said: Float32Array = module(torch.from_numpy(scaled)).numpy()
            return said


class NetworkModule(nn.Module):
    """The network of `cryptoai_assets.lib.models.networks.weights`, with its names, for training."""

    def __init__(self, settings: NetworkSettings, weights: Weights) -> None:
        super().__init__()
        outputs, features = weights[LAST_BAR].shape
        self.body: nn.Module = (
            _Lstm(settings, features) if isinstance(settings, LstmSettings) else _Encoder(settings, features)
        )
        self.heads = nn.Linear(settings.width, outputs)
        self.last_bar = nn.Linear(features, outputs, bias=False).requires_grad_(False)
        self.load_state_dict({_module_name(name): torch.tensor(values) for name, values in weights.items()})

    def forward(self, scaled: Tensor) -> Tensor:
        """(rows, 3, horizons) of scaled windows (rows, lookback, features)."""
        outputs: Tensor = self.heads(self.body(scaled)) + self.last_bar(scaled[:, -1])
        return outputs.reshape(len(scaled), OUTPUTS, -1)

    def weights(self) -> Weights:
        """Copy of the weights as they are."""
        return {
            name.removeprefix("body."): tensor.detach().cpu().numpy().copy()
            for name, tensor in self.state_dict().items()
        }


def _module_name(name: str) -> str:
    return name if name.startswith("heads.") or name == LAST_BAR else f"body.{name}"


class _Lstm(nn.Module):
    def __init__(self, settings: LstmSettings, features: int) -> None:
        super().__init__()
        sizes = zip((features, *settings.units), settings.units, strict=False)
        self.layers = nn.ModuleList(nn.LSTM(inputs, units, batch_first=True) for inputs, units in sizes)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, values: Tensor) -> Tensor:
        for layer in self.layers:
            values = self.dropout(layer(values)[0])
        return values[:, -1]


class _EncoderLayer(nn.Module):
    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        width = settings.width
        self.before_attention = nn.LayerNorm(width)
        self.attention_input = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.before_dense = nn.LayerNorm(width)
        self.up = nn.Linear(width, settings.inner)
        self.down = nn.Linear(settings.inner, width)
        self.dropout = nn.Dropout(settings.dropout)
        self.heads = settings.heads

    def forward(self, values: Tensor, *, asking: int) -> Tensor:
        """(rows, asking, width) of what the newest bars make of all, (rows, bars, width)."""
        width = values.shape[2]
        normal = self.before_attention(values)
        weight, bias = self.attention_input.weight, self.attention_input.bias
        joint = (
            functional.linear(normal[:, -asking:], weight[:width], bias[:width]),
            *functional.linear(normal, weight[width:], bias[width:]).chunk(2, dim=2),
        )
        # each (rows, heads, bars, size)
        asked, known, told = (
            part.reshape(len(part), -1, self.heads, width // self.heads).transpose(1, 2) for part in joint
        )
        mixed = functional.scaled_dot_product_attention(asked, known, told).transpose(1, 2).flatten(2)
        values = values[:, -asking:] + self.dropout(self.attention_output(mixed))
        inner = functional.relu(self.up(self.before_dense(values)))
        told_too: Tensor = values + self.dropout(self.down(inner))
        return told_too


class _Encoder(nn.Module):
    def __init__(self, settings: TransformerSettings, features: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(features, settings.width)
        self.layers = nn.ModuleList(_EncoderLayer(settings) for _ in range(settings.layers))
        self.last_norm = nn.LayerNorm(settings.width)
        self.dropout = nn.Dropout(settings.dropout)
        place = torch.tensor(positions(settings.lookback, settings.width))
        self.register_buffer("positions", place, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        values = self.dropout(self.embedding(values) + self.positions)
        for layer in self.layers[:-1]:
            values = layer(values, asking=values.shape[1])
        # Only the last bar is read after the last layer: nobody asks for the others.
        last: Tensor = self.last_norm(self.layers[-1](values, asking=1)[:, 0])
        return last


class Progress:
    """How far a training is, and its best epoch so far; what the next epoch depends on is its `state`."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, loss: float | None) -> None:
        self._module, self._optimizer = module, optimizer
        self.done, self.best_epoch = 0, 0
        self._best_loss = float("inf") if loss is None else loss
        self._best = self._copied()

    def _copied(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._module.state_dict().items()}

    def end(self, epoch: int, loss: float | None) -> None:
        """Count an epoch, and keep its weights where no loss was less; without a loss the newest ones."""
        self.done = epoch
        if loss is None or loss < self._best_loss:
            self._best_loss = float("inf") if loss is None else loss
            self.best_epoch, self._best = epoch, self._copied()

    def restore_best(self) -> None:
        """Give the module the weights of the best epoch."""
        self._module.load_state_dict(self._best)

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        return {
            "module": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "done": self.done,
            "best_epoch": self.best_epoch,
            "best_loss": self._best_loss,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = dict(state["best"])
        self.done, self.best_epoch = state["done"], state["best_epoch"]
        self._best_loss = state["best_loss"]


class _Run:
    """A training under way."""

    def __init__(self, problem: TrainingProblem, device: torch.device) -> None:
        self._problem, self._device = problem, device
        settings = problem.settings
        features = problem.bars.shape[1]
        first = first_weights(settings, features=features, horizons=problem.horizons, seed=problem.seed)
        self._module = NetworkModule(settings, {**first, **last_bar_weights(problem)}).to(device)
        self._bars = torch.tensor(problem.bars, device=device)
        self._training = _Targets.of(problem.training, device)
        self._stopping = None if problem.stopping is None else _Targets.of(problem.stopping, device)
        self._means = _means(self._training.targets)
        self._optimizer = torch.optim.AdamW(
            self._module.parameters(),
            lr=settings.training.learning_rate,
            weight_decay=settings.training.weight_decay,
        )
        # Where no epoch is better than the regression that the training begins with, that is the solution.
        self.progress = Progress(self._module, self._optimizer, self._stopping_loss())

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or too many went by without a better one."""
        done = self.progress.done
        waited = done - self.progress.best_epoch
        stopped = self._stopping is not None and waited >= self._problem.settings.training.patience
        return done >= self._problem.epochs or (done > 0 and stopped)

    def best_weights(self) -> Weights:
        """Weights of the best epoch."""
        self.progress.restore_best()
        return self._module.weights()

    def epoch(self) -> Epoch:
        """Go once through the training windows whose turn it is."""
        number = self.progress.done + 1
        settings = self._problem.settings.training
        torch.manual_seed(self._problem.seed * 100_003 + number)
        order = np.random.default_rng([self._problem.seed, number]).permutation(self._problem.turn(number))
        batches = np.array_split(order, max(1, len(order) // settings.batch))
        self._module.train()
        total = 0.0
        for place, rows in enumerate(batches):
            self._set_rate(number - 1 + place / len(batches))
            total += self._step(torch.from_numpy(rows).to(self._device)) * len(rows)
        stopping_loss = self._stopping_loss()
        self.progress.end(number, stopping_loss)
        return Epoch(number, self._problem.epochs, total / len(order), stopping_loss)

    def _set_rate(self, epochs: float) -> None:
        """Half a cosine over all epochs that are planned, after a warm-up of half an epoch."""
        settings = self._problem.settings.training
        warm = min(1.0, (epochs + 0.01) / 0.5)
        rate = (
            settings.learning_rate
            * warm
            * 0.5
            * (1 + np.cos(np.pi * min(1.0, epochs / self._problem.planned)))
        )
        for group in self._optimizer.param_groups:
            group["lr"] = float(rate)  # a checkpoint holds plain numbers alone

    def _step(self, rows: Tensor) -> float:
        said = self._module(self._windows(self._training, rows))
        loss = self._loss(said, self._training.targets[rows])
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._module.parameters(), LONGEST_GRADIENT)
        self._optimizer.step()
        return float(loss.detach())

    def _stopping_loss(self) -> float | None:
        """Loss of the stopping windows."""
        if self._stopping is None:
            return None
        self._module.eval()
        with torch.no_grad():
            rows = torch.arange(len(self._stopping.last), device=self._device)
            starts = range(0, len(rows), STOPPING_BATCH)
            parts = [self._windows(self._stopping, rows[start : start + STOPPING_BATCH]) for start in starts]
            said = torch.cat([self._module(part) for part in parts])
            return float(self._loss(said, self._stopping.targets))

    def _loss(self, said: Tensor, targets: Tensor) -> Tensor:
        settings = self._problem.settings.training
        lead, up, volatility = _losses(said, targets, self._means)
        whole: Tensor = up + settings.return_weight * lead + settings.volatility_weight * volatility
        return whole

    def _windows(self, part: "_Targets", rows: Tensor) -> Tensor:
        """(rows, lookback, features)."""
        back = torch.arange(1 - self._problem.settings.lookback, 1, device=self._device)
        return self._bars[part.last[rows][:, None] + back]


@dataclass(frozen=True, slots=True)
class _Targets:
    last: Tensor
    targets: Tensor

    @classmethod
    def of(cls, windows: Windows, device: torch.device) -> "_Targets":
        return cls(torch.from_numpy(windows.last).to(device), torch.from_numpy(windows.targets).to(device))


def _means(targets: Tensor) -> Tensor:
    """(3, horizons) loss of saying the mean of the training windows, which makes the losses comparable."""
    mean = targets.nanmean(dim=0)
    wanted = targets[:, 0].nan_to_num(0.0)
    missed = functional.huber_loss(mean[0].expand_as(wanted), wanted, reduction="none")
    lead = missed.where(targets[:, 0].isfinite(), torch.nan).nanmean(dim=0)
    share = mean[1].clamp(1e-3, 1 - 1e-3)
    up = -(share * share.log() + (1 - share) * (1 - share).log())
    volatility = (targets[:, 2] - mean[2]).square().nanmean(dim=0)
    return torch.stack([lead, up, volatility]).clamp_min(1e-6)


def _losses(said: Tensor, targets: Tensor, means: Tensor) -> Tensor:
    """(3,) of the lead, the direction, the volatility: shares of saying the mean, averaged over horizons."""
    known = targets.isfinite()
    wanted = targets.nan_to_num(0.0)
    each = torch.stack(
        [
            functional.huber_loss(said[:, 0], wanted[:, 0], reduction="none"),
            functional.binary_cross_entropy_with_logits(said[:, 1], wanted[:, 1], reduction="none"),
            functional.mse_loss(said[:, 2], wanted[:, 2], reduction="none"),
        ],
        dim=1,
    )
    mean = (each * known).sum(dim=0) / known.sum(dim=0).clamp_min(1)
    return (mean / means).mean(dim=1)


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Sums in one order and the same random numbers, whatever else runs; as it was afterwards."""
    with _ONE_AT_A_TIME, _settings_kept(threads), torch.random.fork_rng():
        yield


@contextmanager
def _settings_kept(threads: int) -> Iterator[None]:
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]


def _fingerprint(problem: TrainingProblem) -> str:
    """Name of a problem: another one never goes on from its checkpoint."""
    digest = hashlib.sha256(
        repr(
            (
                problem.settings.kind,
                asdict(problem.settings),
                problem.horizons,
                problem.epochs,
                problem.planned,
                problem.seed,
                code_fingerprint(*_CODE),
            )
        ).encode()
    )
    parts = [problem.training] + ([] if problem.stopping is None else [problem.stopping])
    for values in (problem.bars, *(array for part in parts for array in (part.last, part.targets))):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def save_state(state: dict[str, Any], file: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    with replacing(file) as draft:
        torch.save(state, draft)
