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

from cryptoai_assets.lib.candle_patterns.examples import CandleExamples, examples_of, made_bars, noisy
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
# Bars that the longest pattern has.
SEEN_BARS = 3
# Of a body, beside the columns of prices.
_TOP, _BOTTOM, _MIDDLE = range(CLOSE + 1, CLOSE + 4)
# What is measured of a bar: how far one price lies above another, of so many bars before.
_DISTANCES = (
    (CLOSE, OPEN, 0),
    (HIGH, _TOP, 0),
    (_BOTTOM, LOW, 0),
    *((price, price, 1) for price in (OPEN, HIGH, LOW, CLOSE, _TOP, _BOTTOM)),
    (OPEN, CLOSE, 1),
    (CLOSE, OPEN, 1),
    (CLOSE, _MIDDLE, 1),
    (CLOSE, _MIDDLE, 2),
    (CLOSE, CLOSE, 5),
)
_LOOKED_BACK = max(back for _, _, back in _DISTANCES)
# Levels that a measure is held against as the training begins, in usual ranges: by tenths, closer around 0,
# and 0 itself. Beside them how fast the answer turns there.
_GRIDS = ((0.1 * torch.arange(-8, 9), 25.0), (0.025 * torch.arange(-3, 4), 100.0), (torch.zeros(1), 2000.0))
# Levels are moved by this share of the learning rate: a step of it all is as long as some that they tell.
LEVEL_RATE = 0.1
READING_BATCH = 8192
_LEAST_RANGE = 1e-12
# Share of the windows under which a pattern is rare.
RARE = 0.02


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
        noised = round(settings.noisy_share * made / len(settings.noises))
        quiet = made_bars(self.pool, made - noised * len(settings.noises), generator)
        loud = [noisy(made_bars(self.pool, noised, generator), size, generator) for size in settings.noises]
        rows = generator.integers(0, len(self.real), settings.windows - made)
        lessons = CandleExamples.joined([*map(examples_of, [quiet, *loud]), self.real[rows]])
        read = lessons.present[:, self.rare_patterns()].any(axis=1) | (
            generator.random(len(lessons)) < settings.common_share
        )
        return lessons, generator.permutation(np.flatnonzero(read))

    def rare_patterns(self) -> BoolArray:
        """Which patterns few of the real windows end with."""
        rare: BoolArray = self.real.present.mean(axis=0) < RARE
        return rare


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
    """A network from windows (rows, bars, 5) to logits of the patterns (rows, patterns).

    Each measure of a bar is held against levels that are learned; the blocks read each bar, then the bars
    together, and beside them a plain layer sees all answers at once.
    """

    def __init__(self, settings: CandleNetSettings) -> None:
        super().__init__()
        self.differences = nn.Buffer(_differences(), persistent=False)
        self.levels = _Levels()
        inputs = (self.levels.channels, *settings.channels[:-1])
        kernels = (1, SEEN_BARS, *(1 for _ in settings.channels[2:]))
        self.blocks = nn.ModuleList(
            nn.Conv1d(before, after, kernel)
            for before, after, kernel in zip(inputs, settings.channels, kernels, strict=True)
        )
        self.beside = nn.Linear(SEEN_BARS * self.levels.channels, settings.inner)
        self.compared = nn.Sequential(
            nn.Linear(settings.channels[-1] + settings.inner, settings.inner),
            nn.ReLU(),
            nn.Linear(settings.inner, settings.inner),
            nn.ReLU(),
            nn.Linear(settings.inner, len(candle_pattern_names())),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Say which patterns windows end with."""
        bars = self.levels(_measured(windows, self.differences))
        values = bars
        for block in self.blocks:
            values = functional.relu(block(values))
        beside = functional.relu(self.beside(bars.flatten(1)))
        logits: Tensor = self.compared(torch.cat([values.flatten(1), beside], dim=1))
        return logits


class _Levels(nn.Module):
    """Measures (rows, measures, bars) as they are, and whether each lies above levels that are learned."""

    def __init__(self) -> None:
        super().__init__()
        places = torch.cat([grid for grid, _ in _GRIDS])
        turns = torch.cat([torch.full_like(grid, turn) for grid, turn in _GRIDS])
        self.places = nn.Parameter(places.repeat(len(_DISTANCES), 1))
        self.turns = nn.Parameter(turns.log().repeat(len(_DISTANCES), 1))
        self.channels = len(_DISTANCES) * (1 + len(places))

    def forward(self, measured: Tensor) -> Tensor:
        turns = self.turns.exp()
        offsets = 0.5 - self.places * turns
        above = measured[:, :, None] * turns[:, :, None] + offsets[:, :, None]
        return torch.cat([above.clamp(0, 1).flatten(1, 2), measured.clamp(-2, 2)], dim=1)


def _measured(windows: Tensor, differences: Tensor) -> Tensor:
    """(rows, distances, bars seen) in mean true ranges of the 14 bars before each bar."""
    prices = (windows[:, :, : CLOSE + 1] - windows[:, -1:, CLOSE : CLOSE + 1]).transpose(1, 2)
    open_, high, low, close = (prices[:, column : column + 1] for column in (OPEN, HIGH, LOW, CLOSE))
    before = close[:, :, :-1]
    ranges = torch.maximum(high[:, :, 1:], before) - torch.minimum(low[:, :, 1:], before)
    # The first mean is that of the bar after 14, the first of which has one before it.
    usual = functional.avg_pool1d(ranges, USUAL_BARS - 1, stride=1)
    usual = usual[:, :, WINDOW_BARS - SEEN_BARS - USUAL_BARS : -1].clamp_min(_LEAST_RANGE)
    body = [torch.maximum(open_, close), torch.minimum(open_, close), (open_ + close) / 2]
    known = torch.cat([prices, *body], dim=1)[:, :, WINDOW_BARS - SEEN_BARS - _LOOKED_BACK :]
    return functional.conv1d(known, differences) / usual


def _differences() -> Tensor:
    """Weights (distances, prices, bars) that make the distances of a bar from those that it looks back on."""
    weights = np.zeros((len(_DISTANCES), _MIDDLE + 1, _LOOKED_BACK + 1), dtype=np.float32)
    for place, (price, other, back) in enumerate(_DISTANCES):
        weights[place, price, _LOOKED_BACK] += 1.0
        weights[place, other, _LOOKED_BACK - back] -= 1.0
    return torch.from_numpy(weights)


class _Run:
    """A training under way."""

    def __init__(self, problem: CandleProblem) -> None:
        self._problem, self._rare = problem, problem.rare_patterns()
        torch.manual_seed(problem.seed)
        self.module = CandleModule(problem.settings)
        levels = list(self.module.levels.parameters())
        others = [own for name, own in self.module.named_parameters() if not name.startswith("levels.")]
        self._optimizer = torch.optim.AdamW([{"params": levels}, {"params": others}], weight_decay=0.0)
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
            for group, share in zip(self._optimizer.param_groups, (LEVEL_RATE, 1.0), strict=True):
                group["lr"] = share * settings.learning_rate * min(1.0, left)
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
        rare = torch.from_numpy(lessons.present[:, self._rare].any(axis=1))
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
