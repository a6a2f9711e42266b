"""The front page: what is loaded and its latest forecasts, drawn in the browser from the public addresses."""

import base64
import hashlib

from cryptoai_serving.messages import DISCLAIMER

PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>CryptoAI forecasts</title>
<style>
 :root {{ color-scheme: light dark }}
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
 table {{ border-collapse: collapse; width: 100% }}
 th, td {{ padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #8884 }}
 th:first-child, td:first-child {{ text-align: left }}
 td {{ font-variant-numeric: tabular-nums }}
 .quiet {{ opacity: .7 }}
</style>
<h1>CryptoAI forecasts</h1>
<p id="state" role="status">Loading …</p>
<table hidden>
 <thead><tr><th>Symbol, from (UTC)</th><th>Horizon</th><th>Probability of up</th><th>Return, bps</th>
 <th>Interval, bps</th><th>Volatility, bps</th></tr></thead>
 <tbody></tbody>
</table>
<p><a href="/api/docs">API</a> · <a href="/models">models</a> · <a href="/readyz">readiness</a> ·
 <a href="/metrics">metrics</a></p>
<p class="quiet">{DISCLAIMER}</p>
<script>
let key = sessionStorage.getItem("key");
async function ask(path) {{
  const answer = await fetch(path, key ? {{ headers: {{ authorization: `Bearer ${{key}}` }} }} : {{}});
  if (answer.status !== 401) return answer.json();
  key = prompt("This service needs a key with the scope read:");
  if (!key) throw new Error("no key was given");
  sessionStorage.setItem("key", key);
  return ask(path);
}}
const state = document.getElementById("state"), table = document.querySelector("table");
const fixed = (value, digits) => value.toFixed(digits);
function row(...cells) {{
  const line = table.tBodies[0].insertRow();
  for (const cell of cells) line.insertCell().textContent = cell;
}}
function show(forecast) {{
  const from = `${{forecast.symbol}}, ${{forecast.known_at.slice(0, 16).replace("T", " ")}}`;
  if (forecast.abstention) return row(from, "—", `no forecast: ${{forecast.abstention.detail}}`, "", "", "");
  for (const h of forecast.horizons)
    row(from, `${{h.horizon_bars}} × ${{forecast.interval}}`, fixed(h.probability_up, 3),
        fixed(h.expected_return_bps, 1), `${{fixed(h.lower_bps, 0)}} to ${{fixed(h.upper_bps, 0)}}`,
        fixed(h.expected_volatility_bps, 1));
}}
async function load() {{
  const ready = await ask("/readyz");
  if (!ready.version) return void (state.textContent = `Not ready: ${{ready.reason}}`);
  const [model] = (await ask("/models")).models;
  state.textContent = `${{model.model}}, version ${{model.version}}, ${{model.venue}} ${{model.interval}}`
    + (ready.ready ? "" : `; ${{ready.reason}}`)
    + (ready.refused ? `; a newer release was refused: ${{ready.refused.reason}}` : "");
  for (const symbol of model.symbols) {{
    const answer = await ask(`/forecast/${{symbol}}`);
    answer.forecasts ? answer.forecasts.forEach(show) : row(symbol, "—", answer.problem, "", "", "");
  }}
  table.hidden = false;
}}
load().catch(error => {{ state.textContent = `The service does not answer: ${{error.message}}`; }});
</script>
</html>
"""
# A browser runs the script of this page and no other; the page may ask its own server alone.
_SCRIPT = PAGE.partition("<script>")[2].partition("</script>")[0]
_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; script-src 'sha256-{_DIGEST}'; style-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'"
)
