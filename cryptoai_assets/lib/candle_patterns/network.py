"""Training the candlestick network by gradients: resumable, and exported with its scaling inside."""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from cryptoai_assets.lib.candle_patterns.examples import CandleExamples, examples_of, made_bars
from cryptoai_assets.lib.candle_patterns.settings import CandleNetSettings
from cryptoai_assets.lib.charts.labels import BoolArray, Int64Array
from cryptoai_assets.lib.charts.pieces import BarPool
from cryptoai_assets.lib.fingerprints import code_fingerprint
from cryptoai_assets.lib.graph_builder import OPSET
from cryptoai_assets.lib.models.networks.gradients import (
    LONGEST_GRADIENT,
    Progress,
    deterministic,
    save_state,
)
from cryptoai_assets.lib.models.networks.problem import AfterEpoch, Epoch
from edge_bundle.candle_reader import PRESENT, WINDOW_BARS, candle_pattern_names
from edge_bundle.chart import CLOSE, HIGH, LOW, OPEN, VOLUME
from edge_bundle.features.candlesticks import USUAL_BARS
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.session import INPUT_NAME

# Whose change makes a checkpoint that of another training.
CODE = (
    "cryptoai_assets.lib.candle_patterns.examples",
    "cryptoai_assets.lib.candle_patterns.network",
    "cryptoai_assets.lib.charts.pieces",
)
# Bars that the convolutions see at the end of a window: three of a pattern, and six that lead to it.
SEEN_BARS = 9
KERNEL = 3
# Whether prices are equal is decided by hundredths of a usual range, and how long a body is by tenths.
CLOSE_LOOK = 20.0
LEVEL_SIZE = 0.1
# Bars over which a rise or a fall is looked at.
TREND_BARS = 5
_LEVELS = LEVEL_SIZE * torch.arange(8)
READING_BATCH = 8192
# Share of the windows under which a pattern is rare.
RARE = 0.02
_CHANNELS = 4 + 4 + 6 + 1 + 4 * len(_LEVELS) + 1


@dataclass(frozen=True, slots=True)
class CandleProblem:
    """Everything that decides what a training becomes.

    Parameters
    ----------
    real
        Training windows as they were traded.
    validation
        Windows that choose the epoch.
    """

    settings: CandleNetSettings
    pool: BarPool
    real: CandleExamples
    validation: CandleExamples
    seed: int

    def epoch(self, number: int) -> tuple[CandleExamples, Int64Array]:
        """Made and real windows of an epoch, and the rows that are read, in their order."""
        settings = self.settings
        generator = np.random.default_rng([self.seed, number])
        made = round(settings.made_share * settings.windows)
        fresh = examples_of(made_bars(self.pool, made, generator))
        rows = generator.integers(0, len(self.real), settings.windows - made)
        lessons = CandleExamples.joined([fresh, self.real[rows]])
        read = self.rare(lessons) | (generator.random(len(lessons)) < settings.common_share)
        return lessons, generator.permutation(np.flatnonzero(read))

    def rare(self, lessons: CandleExamples) -> BoolArray:
        """Which windows end with a pattern that few do."""
        rare = self.real.present.mean(axis=0) < RARE
        found: BoolArray = np.any(lessons.present[:, rare], axis=1)
        return found


@dataclass(frozen=True, slots=True)
class CandleSolver:
    """Adam, one learning rate until the last epochs cool; see `ChartSolver` of the chart networks."""

    threads: int
    checkpoints: Path | None

    def __call__(self, problem: CandleProblem, *, after_epoch: AfterEpoch) -> "CandleModule":
        """Train for all epochs; the network of the epoch with the least loss on the validation windows."""
        with deterministic(self.threads):
            run = _Run(problem)
            file = None if self.checkpoints is None else self.checkpoints / f"{_fingerprint(problem)}.pt"
            if file is not None and file.is_file():
                run.progress.load_state(torch.load(file, weights_only=True))
            while run.progress.done < problem.settings.epochs:
                after_epoch(run.epoch())
                if file is not None:
                    save_state(run.progress.state(), file)
            run.progress.restore_best()
            return run.module.eval()


class CandleModule(nn.Module):
    """A network from windows (rows, bars, 5) to logits of the patterns (rows, patterns)."""

    def __init__(self, settings: CandleNetSettings) -> None:
        super().__init__()
        inputs = (_CHANNELS, *settings.channels[:-1])
        self.blocks = nn.ModuleList(
            nn.Conv1d(before, after, KERNEL) for before, after in zip(inputs, settings.channels, strict=True)
        )
        left = SEEN_BARS - (KERNEL - 1) * len(settings.channels)
        self.compared = nn.Sequential(
            nn.Flatten(),
            nn.Linear(left * settings.channels[-1] + _CHANNELS * left, settings.inner),
            nn.ReLU(),
            nn.Linear(settings.inner, settings.inner),
            nn.ReLU(),
            nn.Linear(settings.inner, len(candle_pattern_names())),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Say which patterns windows end with."""
        bars = _scaled(windows)
        values = bars
        for block in self.blocks:
            values = functional.relu(block(values))
        last = bars[:, :, bars.shape[2] - values.shape[2] :]
        logits: Tensor = self.compared(torch.cat([values, last], dim=1))
        return logits


def _scaled(windows: Tensor) -> Tensor:
    """(rows, channels, bars seen): prices and parts of the last bars in mean true ranges of the 14 before."""
    open_, high, low, close, volume = (windows[:, :, column] for column in (OPEN, HIGH, LOW, CLOSE, VOLUME))
    before, whole = close[:, :-1], close
    ranges = torch.maximum(high[:, 1:], before) - torch.minimum(low[:, 1:], before)
    bars = USUAL_BARS - 1
    # Of the bars seen whose 14 bars before are not all in the window, of those that are.
    first = WINDOW_BARS - SEEN_BARS
    usual = torch.stack(
        [ranges[:, max(0, bar - 1 - bars) : bar - 1].mean(dim=1) for bar in range(first, WINDOW_BARS)], dim=1
    ).clamp_min(1e-12)
    open_, high, low, close = (price[:, first:] for price in (open_, high, low, close))
    own, last = before[:, first - 1 :], close[:, -1:]
    body, gap = (close - open_) / usual, (open_ - own) / usual
    upper = (high - torch.maximum(open_, close)) / usual
    lower = (torch.minimum(open_, close) - low) / usual
    share = volume[:, first:] / volume.mean(dim=1, keepdim=True).clamp_min(1e-12)
    near = [(price - last) / usual[:, -1:] for price in (open_, high, low, close)]
    trend = (close - whole[:, first - TREND_BARS : -TREND_BARS]) / usual
    steps = [(price - functional.pad(price[:, :-1], (1, 0))) / usual for price in (open_, high, low, close)]
    # From a bar's ends to the body before it.
    across = [(open_ - own) / usual, (close - functional.pad(open_[:, :-1], (1, 0))) / usual]
    fine = torch.stack([body, -body, upper, lower], dim=1)[:, :, None] - _LEVELS[:, None]
    return torch.cat(
        [
            torch.stack([value.clamp(-8, 8) for value in near], dim=1),
            torch.stack([part.clamp(-4, 4) for part in (body, upper, lower, gap)], dim=1),
            torch.stack([(CLOSE_LOOK * step).clamp(-2, 2) for step in (*steps, *across)], dim=1),
            trend.clamp(-2, 2)[:, None],
            (fine / LEVEL_SIZE).clamp(0, 1).flatten(1, 2),
            share.clamp(0, 8)[:, None],
        ],
        dim=1,
    )


class _Run:
    """A training under way."""

    def __init__(self, problem: CandleProblem) -> None:
        self._problem = problem
        torch.manual_seed(problem.seed)
        self.module = CandleModule(problem.settings)
        self._optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=problem.settings.learning_rate, weight_decay=0.0
        )
        self.progress = Progress(self.module, self._optimizer, None)

    def epoch(self) -> Epoch:
        """Read the windows that are made for the epoch."""
        settings, number = self._problem.settings, self.progress.done + 1
        lessons, order = self._problem.epoch(number)
        batches = np.array_split(order, max(1, len(order) // settings.batch))
        self.module.train()
        total = 0.0
        for place, rows in enumerate(batches):
            left = (settings.epochs - number + 1 - place / len(batches)) / settings.cooling_epochs
            for group in self._optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, left)
            loss = self._loss(lessons[rows], settings.common_share)
            self._optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.module.parameters(), LONGEST_GRADIENT)
            self._optimizer.step()
            total += float(loss.detach()) * len(rows)
        validation_loss = self._validation_loss()
        self.progress.end(number, validation_loss)
        return Epoch(number, settings.epochs, total / len(order), validation_loss)

    def _loss(self, lessons: CandleExamples, common_share: float) -> Tensor:
        present = torch.from_numpy(lessons.present).float()
        said = self.module(torch.from_numpy(lessons.windows))
        rare = torch.from_numpy(self._problem.rare(lessons))
        weight = torch.where(rare, 1.0, 1 / common_share)[:, None]
        losses = functional.binary_cross_entropy_with_logits(said, present, reduction="none")
        return (losses * weight).mean()

    def _validation_loss(self) -> float:
        lessons = self._problem.validation
        self.module.eval()
        with torch.no_grad():
            parts = [
                len(part) * float(self._loss(lessons[part], 1.0))
                for part in np.array_split(np.arange(len(lessons)), max(1, len(lessons) // READING_BATCH))
            ]
        return sum(parts) / len(lessons)


class _Said(nn.Module):
    def __init__(self, module: CandleModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, windows: Tensor) -> Tensor:
        return torch.sigmoid(self.module(windows))


def candle_graph(module: CandleModule) -> onnx.ModelProto:
    """Graph of a trained network: windows as they are (batch, bars, 5) to probabilities (batch, patterns)."""
    said = _Said(module.cpu()).eval()
    example = torch.ones((2, WINDOW_BARS, VOLUME + 1))
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / GRAPH_NAME
        # The newer exporter wants packages of its own.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="Constant folding - Only steps=1")
        torch.onnx.export(
            said,
            (example,),
            file,
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=[PRESENT],
            dynamic_axes={name: {0: "batch"} for name in (INPUT_NAME, PRESENT)},
            opset_version=OPSET,
        )
        graph = onnx.load(file)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _fingerprint(problem: CandleProblem) -> str:
    """Name of a problem: another one never goes on from its checkpoint."""
    told = [asdict(problem.settings), problem.seed, code_fingerprint(*CODE)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for values in (
        problem.pool.moves,
        problem.real.windows,
        problem.real.present,
        problem.validation.windows,
        problem.validation.present,
    ):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
