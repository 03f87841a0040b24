"use strict";
// Shows the chosen run. Everything from the data is set as text, never as markup.
const data = JSON.parse(document.getElementById("run-data").textContent);
const byId = (id) => document.getElementById(id);
const chooser = byId("run-chooser");
const order = byId("class-order");

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function line(cells) {
  const row = make("tr", null);
  row.append(...cells);
  return row;
}

const header = (text) => make("th", text, { scope: "row" });
const share = (part, whole) => (whole ? part / whole : 0);
const percent = (part, whole) => (whole ? ((100 * part) / whole).toFixed(1) : "–");

function pairsOf(run) {
  const found = [];
  for (let i = 0; i < run.pairs.length; i += 3) {
    found.push({ actual: run.pairs[i], predicted: run.pairs[i + 1], count: run.pairs[i + 2] });
  }
  return found;
}

function showClasses(run, name) {
  const classes = run.total.map((total, k) => ({ k, total, correct: run.correct[k] }));
  if (order.value === "worst") {
    classes.sort((a, b) => share(a.correct, a.total) - share(b.correct, b.total) || a.k - b.k);
  }
  const rows = classes.map(({ k, total, correct }) => {
    const bar = make("td", null, { class: "bar" });
    const fill = make("span", null);
    fill.style.width = `${100 * share(correct, total)}%`;
    bar.append(fill);
    return line([header(name(k)), make("td", percent(correct, total)), make("td", `${correct} of ${total}`), bar]);
  });
  byId("class-lines").replaceChildren(...rows);
}

function showPairs(run, name) {
  const rows = pairsOf(run).map(({ actual, predicted, count }) =>
    line([
      header(name(actual)),
      make("td", name(predicted), { class: "word" }),
      make("td", String(count)),
      make("td", percent(count, run.total[actual])),
    ]),
  );
  byId("pair-lines").replaceChildren(...rows);
  const text = `${run.left} rarer kinds of confusion are left out.`;
  byId("pairs-left").textContent = rows.length ? (run.left ? text : "") : "No image was confused.";
}

function showMatrix(run, name) {
  const size = run.total.length;
  byId("matrix").hidden = size > data.matrix;
  if (size > data.matrix) return;
  const counts = run.total.map((_, k) => new Map([[k, run.correct[k]]]));
  for (const { actual, predicted, count } of pairsOf(run)) {
    if (actual in counts && predicted >= 0 && predicted < size) counts[actual].set(predicted, count);
  }
  const heads = [make("td", "true \\ predicted", { class: "corner" })];
  for (let k = 0; k < size; k++) {
    const cell = make("th", null, { scope: "col" });
    cell.append(make("span", name(k)));
    heads.push(cell);
  }
  byId("matrix-head").replaceChildren(line(heads));
  const rows = counts.map((row, k) => {
    const cells = [header(name(k))];
    for (let j = 0; j < size; j++) {
      const count = row.get(j) || 0;
      const cell = make("td", count ? String(count) : "", { class: j === k ? "right" : "wrong" });
      cell.style.setProperty("--share", share(count, run.total[k]));
      cells.push(cell);
    }
    return line(cells);
  });
  byId("matrix-lines").replaceChildren(...rows);
}

function show() {
  const run = data.runs[chooser.value];
  const names = data.classes[run.classes];
  const name = (k) => (k >= 0 && k < names.length ? names[k] : `label ${k}`);
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  const [correct, total] = [sum(run.correct), sum(run.total)];
  byId("run-name").textContent =
    `${run.dataset}, ${run.label}: ${correct} of ${total} test images right (${((100 * correct) / total).toFixed(2)} %). ` +
    `Folder: ${run.folder}`;
  showClasses(run, name);
  showPairs(run, name);
  showMatrix(run, name);
}

const keyOf = (run) => `#run=${encodeURIComponent(`${run.dataset}, ${run.label}`)}`;

function readAddress() {
  const index = data.runs.findIndex((run) => keyOf(run) === location.hash);
  if (index >= 0 && chooser.value !== String(index)) {
    chooser.value = String(index);
    show();
  }
  if (index >= 0) byId("run").scrollIntoView();
}

const groups = new Map();
data.runs.forEach((run, index) => {
  if (!groups.has(run.dataset)) groups.set(run.dataset, make("optgroup", null, { label: run.dataset }));
  groups.get(run.dataset).append(make("option", run.label, { value: index }));
});
chooser.append(...groups.values());
chooser.addEventListener("change", () => {
  history.replaceState(null, "", keyOf(data.runs[chooser.value]));
  show();
});
order.addEventListener("change", show);
window.addEventListener("hashchange", readAddress);
byId("run-parts").hidden = false;
show();
readAddress();
