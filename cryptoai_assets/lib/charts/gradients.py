"""Training the chart networks by gradients, through the loop and the door that all networks share.

An epoch is decided by the problem and its number: a training that was killed goes on from its last checkpoint
and becomes, bit by bit, what it would have become.
"""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTModel

from cryptoai_assets.lib.charts.problem import ChartBatch, ChartProblem, chart_batch
from cryptoai_assets.lib.charts.settings import (
    ChartSettings,
    CloseNetSettings,
    PictureCnnSettings,
    VisionTransformerSettings,
)
from cryptoai_assets.lib.fingerprints import code_fingerprint
from cryptoai_assets.lib.graph_builder import OPSET
from cryptoai_assets.lib.models.networks.gradients import (
    LONGEST_GRADIENT,
    Progress,
    deterministic,
    save_state,
)
from cryptoai_assets.lib.models.networks.problem import AfterEpoch, Epoch
from cryptoai_assets.lib.models.networks.weights import positions
from edge_bundle.chart import COLUMNS_A_BAR, INK, ChartFormat, UInt8Array
from edge_bundle.detection import KEY_POINTS, NO_BAR, Pattern
from edge_bundle.detector import PATTERN, POINTER_COUNT, POINTERS, TURNS
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.session import INPUT_NAME

READING_BATCH = 256
# Whose change makes a checkpoint that of another training.
CODE = (
    "cryptoai_assets.lib.charts.drawings",
    "cryptoai_assets.lib.charts.gradients",
    "cryptoai_assets.lib.charts.labels",
    "cryptoai_assets.lib.charts.pieces",
    "cryptoai_assets.lib.charts.problem",
    "edge_bundle.chart_rule",
)
VALUE_WIDTH = 32
POSITION_SIZE = 0.2
# Whether heights are "equal" is decided by hundredths.
DIFFERENCE_SIZE = 8.0
# A bar's step is some hundredths of the window's range.
STEP_SIZE = 20.0
STEM_WIDTH = 32
# Standard deviations of the kernels that the closes are smoothed by, and how closely their slopes are seen.
SMOOTHING_BARS = (1.0, 1.5, 2.0, 3.0)
SLOPE_SIZES = (30.0, 300.0, 3000.0)
# Ink is 1, the mean's line half of it.
INKED = 0.75


@dataclass(frozen=True, slots=True)
class ChartSolution:
    """A trained network and the epoch that it is of."""

    module: "ChartModule"
    epoch: int


@dataclass(frozen=True, slots=True)
class ChartSolver:
    """Adam with decoupled decay, one learning rate until the last epochs cool, on a GPU where there is one.

    Parameters
    ----------
    checkpoints
        Folder of the checkpoints, one a problem; None keeps none.
    """

    threads: int
    checkpoints: Path | None

    def __call__(self, problem: ChartProblem, *, after_epoch: AfterEpoch) -> ChartSolution:
        """Train for all epochs; the network of the epoch with the least loss on the validation windows."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with deterministic(self.threads):
            run = _Run(problem, device)
            file = None if self.checkpoints is None else self.checkpoints / f"{_fingerprint(problem)}.pt"
            if file is not None and file.is_file():
                run.progress.load_state(torch.load(file, map_location=device, weights_only=True))
            else:
                run.begin()
            while not run.finished:
                after_epoch(run.epoch())
                if file is not None:
                    save_state(run.progress.state(), file)
            return ChartSolution(run.best(), run.progress.best_epoch)


class ChartModule(nn.Module):
    """A network from pictures (rows, height, width) to what is said of them.

    Returns
    -------
    tuple
        Logits of the patterns (rows, patterns), of the bars that the pointers point at
        (rows, `POINTER_COUNT`, bars), and of each bar's turn (rows, bars, 3).
    """

    def __init__(self, settings: ChartSettings, chart: ChartFormat) -> None:
        super().__init__()
        self.exact = _Differences(POINTER_COUNT)
        self.closes = _Closes(chart)
        self.reader = _reader(settings, chart)
        width = self.reader.width
        self.turns = nn.Linear(width, 3)
        self.pointers = nn.Linear(width, POINTER_COUNT)
        self.values = nn.Linear(width, VALUE_WIDTH)
        known = POINTER_COUNT * VALUE_WIDTH + width + POINTER_COUNT + len(self.exact.pairs[0])
        self.compared = nn.Sequential(
            nn.Linear(known, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 128), nn.GELU()
        )
        self.pattern = nn.Linear(128, len(Pattern))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Say what is in pictures."""
        closes = self.closes(images)  # (rows, bars)
        bars, turns = self.reader(images)  # (rows, bars, width), and what is said of each bar's turn before
        pointers = self.pointers(bars).transpose(1, 2)  # (rows, pointers, bars)
        pointed = pointers.softmax(dim=2)
        seen = pointed @ self.values(bars)  # what stands where they point
        high = (pointed @ closes[:, :, None])[:, :, 0]  # (rows, pointers)
        apart = DIFFERENCE_SIZE * self.exact(high)
        compared = self.compared(torch.cat([seen.flatten(1), bars.mean(dim=1), high, apart], dim=1))
        return self.pattern(compared), pointers, turns + self.turns(bars)


class _Differences(nn.Module):
    """Differences of all pairs of some values; indices would not be exported."""

    pairs: Tensor

    def __init__(self, values: int) -> None:
        super().__init__()
        first, second = np.triu_indices(values, 1)
        one = torch.eye(values)
        self.register_buffer("pairs", (one[first] - one[second]).T.contiguous(), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        differences: Tensor = values @ self.pairs
        return differences


class _Closes(nn.Module):
    """Heights of the closing ticks (rows, bars), from 0 to 1."""

    level: Tensor

    def __init__(self, chart: ChartFormat) -> None:
        super().__init__()
        self.rows = chart.price_rows
        level = torch.arange(chart.price_rows - 1, -1, -1) / chart.top_level
        self.register_buffer("level", level.float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        ticks = (images[:, : self.rows, COLUMNS_A_BAR - 1 :: COLUMNS_A_BAR] > INKED).float()
        heights: Tensor = (ticks * self.level[:, None]).sum(dim=1)
        return heights


def _reader(settings: ChartSettings, chart: ChartFormat) -> Any:
    if isinstance(settings, VisionTransformerSettings):
        return _VisionTransformer(settings, chart)
    if isinstance(settings, PictureCnnSettings):
        return _PictureCnn(settings, chart)
    return _CloseNet(settings, chart)


class _Stem(nn.Module):
    """Convolutions along the closes, which say a first word on each bar's turn.

    They read slopes of the closes, smoothed by several kernels, with which the training begins and which it
    may change.

    Source: Xiao et al., "Early convolutions help transformers see better", 2021.

    Returns
    -------
    tuple
        What is added to each bar's token (rows, bars, width), with the turns said and how many come after,
        and the logits of the turns (rows, bars, 3).
    """

    counts: Tensor

    def __init__(self, settings: VisionTransformerSettings, chart: ChartFormat) -> None:
        super().__init__()
        self.closes = _Closes(chart)
        self.slopes = nn.Parameter(_smoothed_slopes(chart.bars))
        read = 2 + len(SMOOTHING_BARS) * len(SLOPE_SIZES)
        inputs = (read, *[STEM_WIDTH] * (len(settings.stem_bars) - 1))
        self.layers = nn.ModuleList(
            nn.Conv1d(before, STEM_WIDTH, bars, padding=bars // 2)
            for before, bars in zip(inputs, settings.stem_bars, strict=True)
        )
        self.turns = nn.Linear(STEM_WIDTH, 3)
        self.told = nn.Linear(STEM_WIDTH + 3 + KEY_POINTS + 1, settings.width)
        self.register_buffer("counts", torch.arange(KEY_POINTS + 1).float(), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.read(self.closes(images))

    def read(self, closes: Tensor) -> tuple[Tensor, Tensor]:
        """Same, of the heights of the closes (rows, bars) that are in the pictures."""
        steps = functional.pad(closes[:, 1:] - closes[:, :-1], (1, 0))
        slopes = (closes @ self.slopes).reshape(-1, len(SMOOTHING_BARS), closes.shape[1])
        signs = [torch.tanh(size * slopes) for size in SLOPE_SIZES]
        first, *others = self.layers
        values = first(torch.cat([torch.stack([closes, STEP_SIZE * steps], dim=1), *signs], dim=1))
        for convolution in others:
            values = values + convolution(functional.gelu(values))
        values = values.transpose(1, 2)
        turns = self.turns(functional.gelu(values))
        said = turns.softmax(dim=2)
        turned = 1 - said[:, :, 1]  # whether a bar is a top or a bottom
        after = turned.sum(dim=1, keepdim=True) - turned.cumsum(dim=1)
        near = torch.exp(-4 * (after[:, :, None] - self.counts).square())
        return self.told(torch.cat([values, said, near], dim=2)), turns


def _smoothed_slopes(bars: int) -> Tensor:
    """(bars, kernels * bars): from closes to the steps after each bar of their kernel means."""
    apart = np.arange(bars)[:, None] - np.arange(bars)
    weights = [np.exp(-0.5 * (apart / width) ** 2) for width in SMOOTHING_BARS]
    means = [own / own.sum(axis=0) for own in weights]
    steps = [np.pad(np.diff(own, axis=1), ((0, 0), (0, 1))) for own in means]
    return torch.from_numpy(np.concatenate(steps, axis=1)).float()


class _VisionTransformer(nn.Module):
    """`transformers`' ViT; a patch is a bar."""

    def __init__(self, settings: VisionTransformerSettings, chart: ChartFormat) -> None:
        super().__init__()
        self.width = settings.width
        self.stem = _Stem(settings, chart)
        self.vit = ViTModel(
            ViTConfig(
                hidden_size=settings.width,
                num_hidden_layers=settings.layers,
                num_attention_heads=settings.heads,
                intermediate_size=settings.inner,
                image_size=(chart.height, chart.width),
                patch_size=(chart.height, COLUMNS_A_BAR),
                num_channels=1,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )
        # Neighbours begin alike, which they would have to learn otherwise; place 0 is no bar.
        places = torch.tensor(positions(chart.bars + 1, settings.width))
        self.vit.embeddings.position_embeddings.data.copy_(POSITION_SIZE * places)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        told, turns = self.stem(images)
        states = self.vit.embeddings(images[:, None]) + functional.pad(told, (0, 0, 1, 0))
        for layer in self.vit.layers:
            states = layer(states)
        return self.vit.layernorm(states)[:, 1:], turns


class _PictureCnn(nn.Module):
    """Blocks that halve the height; in the end a bar is what its columns have become."""

    def __init__(self, settings: PictureCnnSettings, chart: ChartFormat) -> None:
        super().__init__()
        inputs = (1, *settings.filters[:-1])
        blocks = [
            nn.Sequential(
                nn.Conv2d(before, after, (5, 3), stride=(3, 1) if place == 0 else 1, padding=(2, 1)),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.01),
                nn.MaxPool2d((2, 1) if place else (2, COLUMNS_A_BAR)),
            )
            for place, (before, after) in enumerate(zip(inputs, settings.filters, strict=True))
        ]
        self.blocks = nn.Sequential(*blocks)
        rows = self.blocks(torch.zeros(1, 1, chart.height, chart.width)).shape[2]
        self.width = rows * settings.filters[-1]

    def forward(self, images: Tensor) -> tuple[Tensor, float]:
        bars: Tensor = self.blocks(images[:, None]).flatten(1, 2).transpose(1, 2)
        return bars, 0.0


class _CloseNet(nn.Module):
    """Convolutions along the closes, with shortcuts around them."""

    place: Tensor

    def __init__(self, settings: CloseNetSettings, chart: ChartFormat) -> None:
        super().__init__()
        self.width = settings.width
        self.closes = _Closes(chart)
        self.first = nn.Conv1d(2, settings.width, 5, padding=2)
        self.layers = nn.ModuleList(
            nn.Conv1d(
                settings.width, settings.width, 5, padding=2 * 2 ** (place % 4), dilation=2 ** (place % 4)
            )
            for place in range(settings.layers)
        )
        self.register_buffer("place", torch.linspace(0, 1, chart.bars), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, float]:
        closes = self.closes(images)
        values = functional.gelu(self.first(torch.stack([closes, self.place.expand_as(closes)], dim=1)))
        for layer in self.layers:
            values = values + functional.gelu(layer(values))
        return values.transpose(1, 2), 0.0


class _Run:
    """A training under way."""

    def __init__(self, problem: ChartProblem, device: torch.device) -> None:
        self._problem, self._device = problem, device
        torch.manual_seed(problem.seed)
        self._module = ChartModule(problem.settings, problem.chart).to(device)
        training = problem.settings.training
        self._optimizer = torch.optim.AdamW(
            self._module.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self.progress = Progress(self._module, self._optimizer, None)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.progress.done >= self._problem.settings.training.epochs

    def best(self) -> ChartModule:
        """The network of the best epoch."""
        self.progress.restore_best()
        return self._module.eval()

    def begin(self) -> None:
        """Teach the stem the turns alone, which needs no picture and takes a fraction of the time."""
        settings, chart = self._problem.settings, self._problem.chart
        if not isinstance(settings, VisionTransformerSettings):
            return
        stem = self._module.reader.stem
        optimizer = torch.optim.AdamW(stem.parameters(), lr=0.0, weight_decay=0.0)
        lessons = self._problem.turn_lessons(settings.stem_steps * settings.stem_batch)
        for step, (closes, turns) in enumerate(lessons.batches(settings.stem_batch)):
            left = 1.0 - step / settings.stem_steps
            for group in optimizer.param_groups:
                group["lr"] = settings.stem_rate * min(1.0, 2 * left, (step + 1) / 50)
            said = stem.read(torch.from_numpy(closes).to(self._device) / chart.top_level)[1]
            loss = functional.cross_entropy(
                said.flatten(0, 1), torch.from_numpy(turns).to(self._device).flatten()
            )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(stem.parameters(), LONGEST_GRADIENT)
            optimizer.step()

    def epoch(self) -> Epoch:
        """Go once through what the epoch reads."""
        number, training = self.progress.done + 1, self._problem.settings.training
        torch.manual_seed(self._problem.seed * 100_003 + number)
        lessons = self._problem.epoch(number)
        flipped = self._problem.flipped(number, len(lessons))
        batches = np.array_split(np.arange(len(lessons)), max(1, len(lessons) // training.batch))
        self._module.train()
        total = 0.0
        for place, rows in enumerate(batches):
            self._set_rate(number - 1 + place / len(batches))
            batch = chart_batch(lessons[rows], self._problem.chart, flipped[rows])
            total += self._step(batch) * len(rows)
        validation_loss = self._validation_loss()
        self.progress.end(number, validation_loss)
        return Epoch(number, training.epochs, total / len(lessons), validation_loss)

    def _set_rate(self, epochs: float) -> None:
        """Warm-up of one epoch, one rate, and a straight fall over the last ones."""
        training = self._problem.settings.training
        left = (training.epochs - epochs) / training.cooling_epochs
        for group in self._optimizer.param_groups:
            group["lr"] = training.learning_rate * min(1.0, epochs + 0.02, left)

    def _step(self, batch: ChartBatch) -> float:
        loss = self._losses(batch)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.sum())
        nn.utils.clip_grad_norm_(self._module.parameters(), LONGEST_GRADIENT)
        self._optimizer.step()
        return float(loss[0].detach())

    def _losses(self, batch: ChartBatch) -> Tensor:
        """(3,) of the pattern, the turns, the pointers, weighed."""
        training, device = self._problem.settings.training, self._device
        said, pointers, turns = self._module(pixels(batch.images).to(device))
        wanted = torch.from_numpy(batch.pointers).to(device)
        pointed = functional.cross_entropy(pointers.flatten(0, 1), wanted.flatten(), ignore_index=NO_BAR)
        turned = functional.cross_entropy(
            turns.flatten(0, 1), torch.from_numpy(batch.turns).to(device).flatten()
        )
        own = functional.cross_entropy(said, torch.from_numpy(batch.pattern).to(device))
        return torch.stack([own, training.turn_weight * turned, training.pointer_weight * pointed])

    def _validation_loss(self) -> float:
        lessons = self._problem.validation()
        self._module.eval()
        total = 0.0
        with torch.no_grad():
            for rows in np.array_split(np.arange(len(lessons)), max(1, len(lessons) // READING_BATCH)):
                upright = np.zeros(len(rows), dtype=bool)
                batch = chart_batch(lessons[rows], self._problem.chart, upright)
                total += float(self._losses(batch).sum()) * len(rows)
        return total / len(lessons)


class _Said(nn.Module):
    """What a bundle's graph says, from bytes to probabilities."""

    def __init__(self, module: ChartModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pattern, pointers, turns = self.module(images.float() / INK)
        return pattern.softmax(dim=1), pointers.softmax(dim=2), turns.softmax(dim=2)


def chart_graph(module: ChartModule, chart: ChartFormat) -> onnx.ModelProto:
    """Graph of a trained network: pictures as bytes (batch, height, width) to the outputs of a detector."""
    said = _Said(module.cpu()).eval()
    example = torch.zeros((2, chart.height, chart.width), dtype=torch.uint8)
    outputs = [PATTERN, POINTERS, TURNS]
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / GRAPH_NAME
        # The newer exporter wants packages of its own; `transformers` asks sizes, which are fixed here.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python boolean")
        warnings.filterwarnings("ignore", message="Constant folding - Only steps=1")
        torch.onnx.export(
            said,
            (example,),
            file,
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (INPUT_NAME, *outputs)},
            opset_version=OPSET,
        )
        graph = onnx.load(file)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def pixels(images: UInt8Array) -> Tensor:
    """Pictures as the network reads them, from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(images)).float() / INK


def _fingerprint(problem: ChartProblem) -> str:
    """Name of a problem: another one never goes on from its checkpoint."""
    stated = {"kind": problem.settings.kind, **asdict(problem.settings), "seed": problem.seed}
    told = [stated, asdict(problem.chart), asdict(problem.rule), code_fingerprint(*CODE)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    data, pool = problem.data, problem.pool
    for values in (data.planes, data.pattern, data.turns, data.key_points, pool.moves, pool.volume, pool.run):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
