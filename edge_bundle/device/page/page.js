// Draws what api/state says, again every ten seconds; nothing comes from anywhere but this device.
import { drawCandles, price } from "./candles.js";
import { ahead, element, gauge, percent, row } from "./rows.js";

const EVERY_MS = 10_000;

const clock = (ms) => new Date(ms).toISOString().slice(11, 16);
// From -1, all negative, to 1, all positive; words for those who see no gauge.
const leaning = (score) => (score > 0.05 ? "positive" : score < -0.05 ? "negative" : "neutral");
const signed = (score) => `${score < 0 ? "−" : "+"}${Math.abs(score).toFixed(2)}`;

function tellMood(paragraph, mood) {
  const hour = (mood.at ?? []).length - 1, day = hour < 0 ? null : mood.sentiment_24h[hour];
  if (day === null) {
    paragraph.replaceChildren("No news of the last day.");
    return;
  }
  const meter = Object.assign(element("meter"), { min: -1, max: 1, low: -0.05, high: 0.05, optimum: 1, value: day });
  meter.setAttribute("aria-hidden", "true");
  const last = mood.sentiment_1h[hour], count = mood.news_count_24h[hour];
  const recent = last === null ? "" : `, of the last hour ${signed(last)}`;
  paragraph.replaceChildren(meter,
    ` News of the day: ${leaning(day)}, ${signed(day)} from ${count} ${count === 1 ? "article" : "articles"}${recent} (${clock(mood.at[hour])} UTC)`);
}

function show(section, symbol, state) {
  section.querySelector("h2").textContent = symbol.name;
  const last = symbol.bars.at(-1);
  const aged = element("small", last ? ` closed ${symbol.age}` : "");
  section.querySelector(".price").replaceChildren(last ? price(last.c) : "no bar yet", aged);
  drawCandles(section.querySelector("svg"), { ...symbol, step: state.step_ms });
  const told = symbol.forecast.filter((one) => one.expected !== null);
  section.querySelector(".forecast tbody").replaceChildren(...told.map((one) => row(
    ahead(one.bars, state.step_ms), gauge(one.up), `${one.return_bps.toFixed(1)} bp`, `${price(one.lower)} – ${price(one.upper)}`)));
  section.querySelector(".forecast").hidden = !told.length;
  const abstention = section.querySelector(".abstention");
  abstention.hidden = !symbol.abstention;
  abstention.textContent = symbol.abstention ? `No forecast: ${symbol.abstention}` : "";
  tellMood(section.querySelector(".mood"), symbol.mood);
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
  // Of one that is told no more, what was shown would pass for new.
  while (main.children.length > state.symbols.length) main.lastElementChild.remove();
  state.symbols.forEach((symbol, place) => show(main.children[place], symbol, state));
  document.getElementById("told-news").hidden = !state.news.headlines.length;
  tellMood(document.querySelector("#told-news .mood"), state.news.mood ?? {});
  document.getElementById("headlines").replaceChildren(...state.news.headlines.map((one) =>
    element("li", `${clock(one.t)} UTC ${one.source}: ${one.title}${one.score === null ? "" : ` (${leaning(one.score)} ${signed(one.score)})`}`)));
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
