// Rows, gauges and words of tables.
export const element = (name, text) => Object.assign(document.createElement(name), { textContent: text ?? "" });
export const percent = (share) => `${(100 * share).toFixed(0)} %`;
export const ahead = (bars, step) => (step % 3.6e6 ? `${(bars * step) / 6e4} min` : `${(bars * step) / 3.6e6} h`);

export function row(...cells) {
  const made = element("tr");
  cells.forEach((cell, place) => {
    const holder = place ? element("td") : Object.assign(element("th"), { scope: "row" });
    holder.append(...(Array.isArray(cell) ? cell : [cell]));
    made.append(holder);
  });
  return made;
}

export function gauge(share) {
  const meter = Object.assign(element("meter"), { min: 0, max: 1, value: share });
  meter.setAttribute("aria-hidden", "true");
  return [meter, ` ${percent(share)}`];
}
