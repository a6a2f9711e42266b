// Draws what the service says of each symbol, again every ten seconds; it asks this service alone.
import { drawCandles, price } from "./candles.js";
import { ahead, element, gauge, row } from "./rows.js";

const EVERY_MS = 10_000, SHOWN_BARS = 96, SHOWN_FEATURES = 8;
const of = (id) => document.getElementById(id);
const points = (value) => `${value > 0 ? "+" : ""}${(100 * value).toFixed(2)} points`;
const words = (name) => name.replaceAll("_", " ");
const minute = (time) => time.slice(0, 16).replace("T", " ");
let key = sessionStorage.getItem("key");

class KeyNeeded extends Error {}

async function ask(path) {
  const answer = await fetch(path, key ? { headers: { authorization: `Bearer ${key}` } } : {});
  if (answer.status === 401) throw new KeyNeeded("a key is needed");
  return answer.json();
}

function members(one) {
  const said = one.members?.said.map((member) => `${member.name} ${(100 * member.probability_up).toFixed(1)} %`);
  return said?.join(", ") ?? "–";
}

function patternsTold(patterns) {
  const { chart } = patterns;
  const seen = chart && chart.pattern !== "none" ? [`${words(chart.pattern)} (chart, certainty ${chart.confidence.toFixed(2)})`] : [];
  const strongest = patterns.strongest ? [`${words(patterns.strongest.name)} (candles)`] : [];
  const told = [...seen, ...strongest].join(" and ");
  return told ? `Patterns: ${told}. Nothing shows that a pattern foretells anything.` : "No pattern in the latest bars.";
}

function show(section, symbol, bars, said) {
  section.querySelector("h2").textContent = symbol;
  const { prediction, patterns, signals } = said;
  section.querySelector(".price").replaceChildren(
    price(said.current_price), element("small", ` closed ${minute(said.known_at)} UTC`));
  const times = bars.candles.open_time.map(Date.parse);
  const step = Date.parse(bars.known_at) - times.at(-1);
  const { open, high, low, close } = bars.candles;
  const expected = prediction.horizons.map((one) => ({
    bars: one.horizon_bars, expected: one.expected_price, lower: one.lower_price, upper: one.upper_price }));
  drawCandles(section.querySelector("svg"), {
    name: symbol, step, forecast: expected,
    bars: times.map((t, at) => ({ t, o: open[at], h: high[at], l: low[at], c: close[at] })),
    marks: patterns.patterns.map((one) => ({ t: Date.parse(one.open_time), label: words(one.name) })),
    turns: (patterns.chart?.key_points ?? []).map((one) => ({ t: Date.parse(one.open_time), price: one.price })),
  });
  section.querySelector("figcaption").textContent =
    `Closed bars of ${bars.interval}; the band holds ${(100 * prediction.interval_coverage).toFixed(0)} % of outcomes. ${patternsTold(patterns)}`;
  const abstention = section.querySelector(".abstention"), told = prediction.horizons.filter((one) => one.expected_price !== null);
  abstention.hidden = !prediction.abstention;
  abstention.textContent = prediction.abstention ? `No forecast: ${prediction.abstention.detail}` : "";
  const signal = new Map(signals.map((one) => [one.horizon_bars, one]));
  section.querySelector(".forecast").hidden = !told.length;
  section.querySelector(".forecast tbody").replaceChildren(...told.map((one) => row(
    ahead(one.horizon_bars, step), gauge(one.probability_up), `${one.expected_return_bps.toFixed(1)} bp`,
    `${price(one.lower_price)} – ${price(one.upper_price)}`, members(one), signal.get(one.horizon_bars)?.type ?? "–")));
  for (const cell of section.querySelectorAll(".forecast td:nth-child(5)")) cell.className = "members";
  section.querySelector(".signals").textContent =
    [...new Set(signals.filter((one) => one.type === "HOLD").map((one) => one.detail))].map((why) => `HOLD: ${why}`).join(". ");
  const details = section.querySelector("details");
  details.ontoggle = () => details.open && explain(details, symbol, step);
  if (details.open && details.dataset.knownAt !== said.known_at) explain(details, symbol, step);
  details.dataset.knownAt = said.known_at;
}

async function explain(details, symbol, step) {
  const told = details.querySelector(".told");
  told.textContent = "Asking …";
  const answer = await ask(`explain/${symbol}`);
  const { explanation } = answer;
  details.querySelector("table").hidden = !explanation;
  if (!explanation) return void (told.textContent = answer.problem ?? answer.abstention.detail);
  const odds = explanation.unit !== "probability";
  told.textContent = `The largest of ${explanation.contributions.length} contributions to what comes in ${ahead(answer.horizon_bars, step)}, `
    + `${explanation.method} Shapley values${odds ? ", in log odds" : ""}; from ${explanation.baseline.toFixed(3)} to ${explanation.said.toFixed(3)}.`;
  details.querySelector("tbody").replaceChildren(...explanation.contributions.slice(0, SHOWN_FEATURES).map((one) => row(
    one.feature, one.value.toPrecision(3), odds ? one.contribution.toFixed(3) : points(one.contribution))));
}

function problem(section, symbol, told) {
  section.querySelector("h2").textContent = symbol;
  section.querySelector(".price").textContent = "";
  const abstention = section.querySelector(".abstention");
  abstention.hidden = false;
  abstention.textContent = told;
  for (const part of section.querySelectorAll("figure, table, details")) part.hidden = true;
}

async function draw(section, symbol) {
  const [bars, said] = await Promise.all([ask(`bars/${symbol}?bars=${SHOWN_BARS}`), ask(`api/ml/insights/${symbol}`)]);
  const refused = said.problem ?? bars.problem;
  if (refused) return problem(section, symbol, refused);
  for (const part of section.querySelectorAll("figure, details")) part.hidden = false;
  show(section, symbol, bars, said);
}

async function refresh() {
  const told = of("told"), notice = of("notice");
  try {
    const ready = await ask("readyz");
    const { models: [model] } = await ask("models");
    const wrong = [ready.reason, ready.refused ? `a newer release was refused: ${ready.refused.reason}` : ""].filter(Boolean);
    notice.hidden = !wrong.length;
    notice.textContent = wrong.join("; ");
    of("key").hidden = true;
    if (!model) return void (told.textContent = "No model is loaded.");
    of("model").textContent = `version ${model.version} of ${model.model}`;
    const main = of("symbols");
    while (main.children.length < model.symbols.length) main.append(of("symbol").content.cloneNode(true));
    await Promise.all(model.symbols.map((symbol, place) => draw(main.children[place], symbol)));
    const now = `${model.kind}, ${model.venue}, bars of ${model.interval}`;
    if (told.textContent !== now) told.textContent = now;
  } catch (error) {
    of("key").hidden = !(error instanceof KeyNeeded);
    told.textContent = error instanceof KeyNeeded ? "" : `The service does not answer (${error.message}); what is shown may be old.`;
  }
}

of("key").onsubmit = (event) => {
  event.preventDefault();
  key = of("key").querySelector("input").value;
  sessionStorage.setItem("key", key);
  refresh();
};
refresh();
setInterval(refresh, EVERY_MS);
