// Candles of one symbol with what a model expects next, as an SVG that a screen reader can tell.
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 260, LEFT = 4, LABELS = 80, TOP = 14, BOTTOM = 236, DAY_MS = 86_400_000;
export const price = (value) => value.toLocaleString("en", { maximumSignificantDigits: 7 });

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// name: of the symbol. bars: {t, o, h, l, c}, t in milliseconds. step: of a bar, in milliseconds.
// forecast: {bars, expected, lower, upper}, prices, null where the model abstains.
// past: {t, expected}, what was expected before. marks: {t, label}, patterns that ended with a bar.
// turns: {t, price}, the points of a chart pattern.
export function drawCandles(svg, { name, bars, step, forecast, past = [], marks = [], turns = [] }) {
  svg.replaceChildren();
  const width = svg.clientWidth || 640, right = width - LABELS;
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  if (!bars.length) return;
  const first = bars[0].t, last = bars.at(-1);
  const told = forecast.filter((one) => one.expected !== null);
  const end = last.t + step * Math.max(1, ...told.map((one) => one.bars));
  const known = [...bars.flatMap((bar) => [bar.l, bar.h]), ...told.flatMap((one) => [one.lower, one.upper])];
  const low = Math.min(...known), high = Math.max(...known), span = high - low || high * 1e-6;
  const x = (t) => LEFT + ((t - first) / (end - first || 1)) * (right - LEFT);
  const y = (value) => BOTTOM - ((value - low) / span) * (BOTTOM - TOP);
  const wide = Math.max(1, ((right - LEFT) / ((end - first) / step + 1)) * 0.6);
  for (const bar of bars) {
    const kind = bar.c >= bar.o ? "up" : "down";
    svg.append(shape("line", { x1: x(bar.t), x2: x(bar.t), y1: y(bar.h), y2: y(bar.l), class: kind }));
    const top = y(Math.max(bar.o, bar.c)), tall = Math.max(1, Math.abs(y(bar.o) - y(bar.c)));
    svg.append(shape("rect", { x: x(bar.t) - wide / 2, y: top, width: wide, height: tall, class: kind }));
  }
  for (const one of past) {
    if (one.t >= first && one.expected >= low && one.expected <= high)
      svg.append(shape("circle", { cx: x(one.t), cy: y(one.expected), r: 2.5, class: "dot" }));
  }
  if (turns.length) {
    svg.append(shape("polyline", { points: turns.map((turn) => `${x(turn.t)},${y(turn.price)}`).join(" "), class: "pattern" }));
    for (const turn of turns) svg.append(shape("circle", { cx: x(turn.t), cy: y(turn.price), r: 3.5, class: "turn" }));
  }
  const highs = new Map(bars.map((bar) => [bar.t, bar.h]));
  for (const mark of marks) {
    if (!highs.has(mark.t)) continue;
    const sign = shape("text", { x: x(mark.t), y: Math.max(TOP - 2, y(highs.get(mark.t)) - 5), class: "mark" }, "▾");
    sign.append(shape("title", {}, mark.label));
    svg.append(sign);
  }
  if (told.length) {
    const at = (one) => x(last.t + one.bars * step);
    const start = `${x(last.t)},${y(last.c)}`;
    const upper = told.map((one) => `${at(one)},${y(one.upper)}`);
    const lower = told.map((one) => `${at(one)},${y(one.lower)}`).reverse();
    svg.append(shape("polygon", { points: [start, ...upper, ...lower].join(" "), class: "band" }));
    const line = told.map((one) => `${at(one)},${y(one.expected)}`);
    svg.append(shape("polyline", { points: [start, ...line].join(" "), class: "expected" }));
  }
  for (const value of [low, (low + high) / 2, high])
    svg.append(shape("text", { x: right + 6, y: y(value) + 4 }, price(value)));
  const long = last.t - first > DAY_MS;
  const clock = (ms) => new Date(ms).toISOString().slice(long ? 5 : 11, 16).replace("T", " ");
  const room = long ? 90 : 40;
  for (const t of [first, last.t])
    svg.append(shape("text", { x: Math.min(x(t), right - room), y: HEIGHT - 6 }, `${clock(t)} UTC`));
  const ends = told.length ? `; expected next: ${told.map((one) => price(one.expected)).join(", ")}` : "";
  svg.setAttribute("aria-label", `${name}: ${bars.length} bars, between ${price(low)} and ${price(high)}${ends}`);
}
