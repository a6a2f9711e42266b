"""Weights of a network by name: their first values, and what the network says with them, in numpy alone.

The names and shapes are those of PyTorch's layers: a dense layer's weight is (outputs, inputs), an LSTM's
gates are input, forget, cell, output. It is the network's definition; the program that trains it and the
graph that runs it are both compared with it.

What the heads say is a regression on the last bar, `LAST_BAR`, and what the body adds to it.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.special import expit, softmax

from cryptoai_assets.lib.models.networks.settings import LstmSettings, NetworkSettings, TransformerSettings
from edge_bundle.windows import Float32Array

Weights = Mapping[str, Float32Array]
# What `head_outputs` is of some settings and weights.
Forward = Callable[[Float32Array], Float32Array]
OUTPUTS = 3  # a lead, the logit of up, a relative volatility
LAST_BAR = "last_bar.weight"
NORM_EPSILON = 1e-5


def weight_shapes(
    settings: NetworkSettings, *, features: int, horizons: int
) -> Mapping[str, tuple[int, ...]]:
    """Shape of every weight by name, in the order of the layers."""
    body = (
        _lstm_shapes(settings, features)
        if isinstance(settings, LstmSettings)
        else _encoder_shapes(settings, features)
    )
    heads = _dense("heads", settings.width, OUTPUTS * horizons)
    return {**dict(body), **dict(heads), LAST_BAR: (OUTPUTS * horizons, features)}


def _dense(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _lstm_shapes(settings: LstmSettings, features: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for place, (inputs, units) in enumerate(zip((features, *settings.units), settings.units, strict=False)):
        yield f"layers.{place}.weight_ih_l0", (4 * units, inputs)
        yield f"layers.{place}.weight_hh_l0", (4 * units, units)
        yield f"layers.{place}.bias_ih_l0", (4 * units,)
        yield f"layers.{place}.bias_hh_l0", (4 * units,)


def _encoder_shapes(settings: TransformerSettings, features: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = settings.width
    yield from _dense("embedding", features, width)
    for place in range(settings.layers):
        layer = f"layers.{place}"
        yield from _norm(f"{layer}.before_attention", width)
        yield from _dense(f"{layer}.attention_input", width, 3 * width)
        yield from _dense(f"{layer}.attention_output", width, width)
        yield from _norm(f"{layer}.before_dense", width)
        yield from _dense(f"{layer}.up", width, settings.inner)
        yield from _dense(f"{layer}.down", settings.inner, width)
    yield from _norm("last_norm", width)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def first_weights(settings: NetworkSettings, *, features: int, horizons: int, seed: int) -> Weights:
    """Weights before any training: the same for the same seed, on every machine.

    Matrices are uniform as by Glorot and Bengio (2010), those of the heads a tenth of it, so that a training
    starts near the regression on the last bar, which is none yet; an LSTM's forget gate is open.
    """
    random = np.random.default_rng(seed)
    found = {}
    for name, shape in weight_shapes(settings, features=features, horizons=horizons).items():
        if name == LAST_BAR:
            found[name] = np.zeros(shape, dtype=np.float32)
        elif len(shape) == 2:
            gates = 4 if "_hh_" in name or "_ih_" in name else 1
            limit = (6 / (shape[1] + shape[0] / gates)) ** 0.5 * (0.1 if name.startswith("heads") else 1)
            found[name] = random.uniform(-limit, limit, shape).astype(np.float32)
        else:
            ones = name.endswith("weight")
            found[name] = np.full(shape, 1.0 if ones else 0.0, dtype=np.float32)
            if "bias_ih" in name:
                found[name][shape[0] // 4 : shape[0] // 2] = 1.0
    return found


def positions(lookback: int, width: int) -> Float32Array:
    """(lookback, width) sinusoids. Source: Vaswani et al., "Attention is all you need", 2017."""
    rate = np.exp(-np.log(10_000.0) * np.arange(0, width, 2) / width)
    angle = np.arange(lookback)[:, None] * rate
    return (
        np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(lookback, -1)[:, :width].astype(np.float32)
    )


def head_outputs(settings: NetworkSettings, weights: Weights, scaled: Float32Array) -> Float32Array:
    """(rows, 3, horizons) lead, logit of up and relative volatility of scaled windows.

    Parameters
    ----------
    scaled
        (rows, lookback, features).
    """
    body = (
        _lstm(settings, weights, scaled)
        if isinstance(settings, LstmSettings)
        else _encoder(settings, weights, scaled)
    )
    said = _applied(weights, "heads", body) + scaled[:, -1] @ weights[LAST_BAR].T
    return np.asarray(said.reshape(len(scaled), OUTPUTS, -1), dtype=np.float32)


def _applied(weights: Weights, name: str, values: Float32Array) -> Float32Array:
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _lstm(settings: LstmSettings, weights: Weights, scaled: Float32Array) -> Float32Array:
    series = scaled.transpose(1, 0, 2)  # (bars, rows, features)
    for place, units in enumerate(settings.units):
        layer = f"layers.{place}"
        read = series @ weights[f"{layer}.weight_ih_l0"].T
        read += weights[f"{layer}.bias_ih_l0"] + weights[f"{layer}.bias_hh_l0"]
        recurrent = weights[f"{layer}.weight_hh_l0"].T
        held = cell = np.zeros((len(scaled), units), dtype=np.float32)
        series = np.empty((settings.lookback, len(scaled), units), dtype=np.float32)
        for bar in range(settings.lookback):
            gates = read[bar] + held @ recurrent
            enter, forget, candidate, leave = np.split(gates, 4, axis=1)
            cell = expit(forget) * cell + expit(enter) * np.tanh(candidate)
            series[bar] = held = expit(leave) * np.tanh(cell)
    return np.asarray(series[-1], dtype=np.float32)


def _encoder(settings: TransformerSettings, weights: Weights, scaled: Float32Array) -> Float32Array:
    values = _applied(weights, "embedding", scaled) + positions(settings.lookback, settings.width)
    for place in range(settings.layers):
        layer = f"layers.{place}"
        normal = _normalised(weights, f"{layer}.before_attention", values)
        mixed = _attended(settings, _applied(weights, f"{layer}.attention_input", normal))
        values = values + _applied(weights, f"{layer}.attention_output", mixed)
        normal = _normalised(weights, f"{layer}.before_dense", values)
        inner = np.maximum(_applied(weights, f"{layer}.up", normal), 0)
        values = values + _applied(weights, f"{layer}.down", inner)
    return _normalised(weights, "last_norm", values[:, -1])


def _normalised(weights: Weights, name: str, values: Float32Array) -> Float32Array:
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(NORM_EPSILON))
    return np.asarray(
        centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"], dtype=np.float32
    )


def _attended(settings: TransformerSettings, joint: Float32Array) -> Float32Array:
    rows, bars, _ = joint.shape
    size = settings.width // settings.heads
    asked, known, told = (  # each (rows, heads, bars, size)
        part.reshape(rows, bars, settings.heads, size).transpose(0, 2, 1, 3)
        for part in np.split(joint, 3, axis=2)
    )
    share = softmax(asked @ known.transpose(0, 1, 3, 2) / np.float32(size**0.5), axis=-1)
    return np.asarray((share @ told).transpose(0, 2, 1, 3).reshape(rows, bars, settings.width))
