"use strict";
// Draws what api/state says, again every ten seconds; nothing comes from anywhere but this device.
const EVERY_MS = 10_000;
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 260, LEFT = 4, LABELS = 80, TOP = 10, BOTTOM = 236;
const element = (name, text) => Object.assign(document.createElement(name), { textContent: text ?? "" });
const percent = (share) => `${(100 * share).toFixed(0)} %`;
const price = (value) => value.toLocaleString("en", { maximumSignificantDigits: 7 });
const ahead = (bars, step) => (step % 3.6e6 ? `${(bars * step) / 6e4} min` : `${(bars * step) / 3.6e6} h`);
const clock = (ms) => new Date(ms).toISOString().slice(11, 16);

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function draw(svg, symbol, step) {
  svg.replaceChildren();
  const bars = symbol.bars, width = svg.clientWidth || 640, right = width - LABELS;
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  if (!bars.length) return;
  const first = bars[0].t, last = bars.at(-1);
  const told = symbol.forecast.filter((one) => one.expected !== null);
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
  for (const past of symbol.past) {
    if (past.t >= first && past.expected >= low && past.expected <= high)
      svg.append(shape("circle", { cx: x(past.t), cy: y(past.expected), r: 2.5, class: "dot" }));
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
  for (const value of [low, (low + high) / 2, high]) {
    const label = shape("text", { x: right + 6, y: y(value) + 4 });
    label.textContent = price(value);
    svg.append(label);
  }
  for (const t of [first, last.t]) {
    const label = shape("text", { x: Math.min(x(t), right - 40), y: HEIGHT - 6 });
    label.textContent = `${clock(t)} UTC`;
    svg.append(label);
  }
  svg.setAttribute("aria-label", `${symbol.name}: ${bars.length} minutes, between ${price(low)} and ${price(high)}`);
}

function row(...cells) {
  const made = element("tr");
  cells.forEach((cell, place) => {
    const holder = place ? element("td") : Object.assign(element("th"), { scope: "row" });
    holder.append(...(Array.isArray(cell) ? cell : [cell]));
    made.append(holder);
  });
  return made;
}

function gauge(share) {
  const meter = Object.assign(element("meter"), { min: 0, max: 1, value: share });
  meter.setAttribute("aria-hidden", "true");
  return [meter, ` ${percent(share)}`];
}

function show(section, symbol, state) {
  section.querySelector("h2").textContent = symbol.name;
  const last = symbol.bars.at(-1);
  const aged = element("small", last ? ` closed ${symbol.age}` : "");
  section.querySelector(".price").replaceChildren(last ? price(last.c) : "no bar yet", aged);
  draw(section.querySelector("svg"), symbol, state.step_ms);
  const told = symbol.forecast.filter((one) => one.expected !== null);
  section.querySelector(".forecast tbody").replaceChildren(...told.map((one) => row(
    ahead(one.bars, state.step_ms), gauge(one.up), `${one.return_bps.toFixed(1)} bp`, `${price(one.lower)} – ${price(one.upper)}`)));
  section.querySelector(".forecast").hidden = !told.length;
  const abstention = section.querySelector(".abstention");
  abstention.hidden = !symbol.abstention;
  abstention.textContent = symbol.abstention ? `No forecast: ${symbol.abstention}` : "";
  section.querySelector(".record tbody").replaceChildren(...symbol.record.map((one) => row(
    ahead(one.bars, state.step_ms),
    one.right === null ? "–" : `${percent(one.right)} (${one.right_interval.map(percent).join(" to ")})`,
    one.inside === null ? "–" : percent(one.inside), `${one.count}`)));
}

function render(state) {
  document.getElementById("model").textContent = state.model;
  const notice = document.getElementById("notice");
  notice.hidden = !state.notice;
  notice.textContent = state.notice;
  const main = document.getElementById("symbols");
  while (main.children.length < state.symbols.length)
    main.append(document.getElementById("symbol").content.cloneNode(true));
  state.symbols.forEach((symbol, place) => show(main.children[place], symbol, state));
  document.getElementById("device").replaceChildren(
    ...Object.entries(state.device).flatMap(([label, value]) => [element("dt", label), element("dd", value)]));
  document.getElementById("troubles").replaceChildren(
    ...(state.troubles.length ? state.troubles : ["none"]).map((told) => element("li", told)));
}

async function refresh() {
  const told = document.getElementById("told");
  try {
    const answer = await fetch("api/state");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const state = await answer.json();
    render(state);
    if (told.textContent !== state.told) told.textContent = state.told;
  } catch (error) {
    told.textContent = `The device does not answer (${error.message}); what is shown may be old.`;
  }
}

refresh();
setInterval(refresh, EVERY_MS);
