// Lists with filters, and the way to what an address names.

// A list that shows its first items, and more of them on demand.
class PagedList {
  constructor(id, step, noun, render) {
    Object.assign(this, { step, noun, render, items: [], shown: 0 });
    [this.list, this.button, this.count] = ["list", "more", "count"].map((part) => byId(`${id}-${part}`));
    this.button.addEventListener("click", () => {
      const first = this.shown;
      this.grow(first + step);
      const next = this.list.children[first];
      if (next) (next.querySelector("summary") || next).focus({ preventScroll: true });
    });
  }

  set(items, all, note = "") {
    this.items = items;
    this.shown = 0;
    this.list.replaceChildren();
    this.count.textContent = `${items.length === all ? all : `${items.length} of ${all}`} ${this.noun}${note}`;
    this.grow(this.step);
  }

  grow(wanted) {
    const end = Math.min(wanted, this.items.length);
    this.list.append(...this.items.slice(this.shown, end).map(this.render));
    this.shown = end;
    const left = this.items.length - end;
    this.button.hidden = left === 0;
    this.button.textContent = `Show ${Math.min(left, this.step)} more of ${left}`;
  }

  // Whether the item is in the list, where it then can be seen.
  reveal(item) {
    const place = this.items.indexOf(item);
    if (place >= this.shown) this.grow(place + 1);
    return place >= 0;
  }
}

const folded = (text) => text.normalize("NFKC").toLowerCase();
const byName = (name) => (a, b) => (folded(name(a)) < folded(name(b)) ? -1 : folded(name(a)) > folded(name(b)) ? 1 : a - b);
const places = (list) => list.map((_, k) => k);
const chosen = (id) => (byId(id).value === "" ? null : Number(byId(id).value));

// Concepts

const fit = ({ better }) => (better ? `${better} other ${better === 1 ? "name fits" : "names fit"} its images better` : "no other name fits its images better");

const weightOf = (k, label) => {
  const found = data.classes[label].marks.concepts.find(([concept]) => concept === k);
  return found ? found[1] : null;
};

function share(value) {
  const fill = make("span", { class: "for" });
  fill.style.width = `${100 * Math.min(Math.max(value, 0), 1)}%`;
  return make("span", { class: "share", "aria-hidden": "true" }, fill);
}

function conceptCard(k) {
  const concept = data.concepts[k];
  const label = chosen("concept-class");
  const weight = label === null ? null : weightOf(k, label);
  const card = make("li", { id: `concept-${k}`, class: "card", tabindex: "-1" },
    make("h3", {}, prefix(false, concept) + concept.name),
    make("p", { class: "kind" }, data.kinds[concept.kind]),
    make("p", { class: "distinctive" }, share(concept.distinctiveness), ` ${concept.distinctiveness.toFixed(2)}`,
      make("span", { class: "spoken" }, " distinctive")));
  if (concept.also) card.append(make("p", { class: "naming" }, also(concept)));
  if (concept.better !== undefined) card.append(make("p", { class: "naming" }, fit(concept)));
  card.append(pictures(concept.images));
  if (weight !== null) {
    const lacks = data.classes[label].marks.lacked.includes(k) ? ", by what it lacks" : "";
    card.append(make("p", { class: "weight" }, `${signed(weight, 3)} for ${nameOf(label)}${lacks}`));
  }
  return card;
}

const conceptPages = new PagedList("concept", 60, "concepts", conceptCard);

function showConcepts() {
  const [kind, label, words] = [chosen("concept-kind"), chosen("concept-class"), folded(byId("concept-search").value.trim())];
  const order = byId("concept-order");
  order.querySelector("[value=weight]").disabled = label === null;
  if (label === null && order.value === "weight") order.value = "distinctive";
  const marks = new Map(label === null ? [] : data.classes[label].marks.concepts);
  const found = places(data.concepts).filter((k) => {
    const concept = data.concepts[k];
    if (kind !== null && concept.kind !== kind) return false;
    if (words && ![concept.name, ...(concept.also || [])].some((name) => folded(name).includes(words))) return false;
    return label === null || marks.has(k) || concept.images.some((index) => data.images[index].label === label);
  });
  if (order.value === "name") found.sort(byName((k) => data.concepts[k].name));
  const weight = (k) => (marks.has(k) ? marks.get(k) : 0);
  if (order.value === "weight") found.sort((a, b) => weight(b) - weight(a) || a - b);
  const note = label === null ? "" : `: they mark ${nameOf(label)}, or show images of it`;
  conceptPages.set(found, data.concepts.length, note);
}

// Classes

function confusion(label, { class: other, as, from, parts }) {
  const [name, rival] = [nameOf(label), nameOf(other)];
  return make("div", { class: "confusion" },
    make("h4", {}, `${name} or `, classLink(other), "?"),
    make("p", { class: "note" }, `${as} of the test images of ${name} were taken for ${rival}, ${from} the other way. ` +
      `Bars to the right tell images of ${name} from those of ${rival}.`),
    explanation(parts, "between the two"));
}

function classParts(k) {
  const one = data.classes[k];
  const box = make("div", { class: "opened" });
  if (one.images.some((index) => data.images[index].uri)) box.append(pictures(one.images));
  box.append(make("h4", {}, "What marks it"), explanation(one.marks, data.sparse ? "logit" : "above the mean logit"));
  box.append(...one.confused.map((pair) => confusion(k, pair)));
  if (!one.confused.length) box.append(make("p", { class: "note" }, "It is not confused with any class."));
  const button = make("button", { type: "button" }, "Its concepts in the gallery");
  button.addEventListener("click", () => {
    byId("concept-search").value = byId("concept-kind").value = "";
    byId("concept-class").value = String(k);
    byId("concept-order").querySelector("[value=weight]").disabled = false;
    byId("concept-order").value = "weight";
    showConcepts();
    byId("concept-class").focus({ preventScroll: true });
    byId("concepts").scrollIntoView();
  });
  box.append(button);
  return box;
}

function classLine(k) {
  const one = data.classes[k];
  const marks = one.marks.concepts.filter(([, value]) => value > 0).slice(0, 4);
  const summary = make("summary", {}, make("span", { class: "name" }, one.name),
    make("span", { class: "right" }, share(one.total ? one.correct / one.total : 0),
      ` ${one.correct} of ${one.total} right`, make("small", {}, ` ${percent(one.correct, one.total)}`)));
  if (!data.many && marks.length) {
    summary.append(make("small", { class: "marks" }, marks.map(([k]) => before(one.marks, k) + data.concepts[k].name).join(", ")));
  }
  const details = make("details", {}, summary);
  details.addEventListener("toggle", () => fill(details, k));
  return make("li", { id: `class-${k}` }, details);
}

function fill(details, k) {
  if (details.open && details.children.length === 1) details.append(classParts(k));
}

const classPages = new PagedList("class", 60, "classes", classLine);

function showClasses() {
  const words = folded(byId("class-search").value.trim());
  const found = places(data.classes).filter((k) => folded(data.classes[k].name).includes(words));
  const right = ({ correct, total }) => (total ? correct / total : 2); // what has no images comes last
  const order = byId("class-order").value;
  if (order === "worst") found.sort((a, b) => right(data.classes[a]) - right(data.classes[b]) || a - b);
  if (order === "name") found.sort(byName(nameOf));
  classPages.set(found, data.classes.length);
}

// Test images

function exampleCard(k) {
  const { image, label, prediction, probability, parts, instead } = data.examples[k];
  const [name, answer] = [nameOf(label), nameOf(prediction)];
  const right = label === prediction;
  const facts = make("div", { class: "facts" },
    make("p", { class: right ? "verdict is-right" : "verdict is-wrong" }, right ? "right" : "mistake"),
    make("p", {}, "true ", make("strong", {}, classLink(label))),
    make("p", {}, "predicted ", make("strong", {}, classLink(prediction))),
    make("p", { class: "note" }, `probability ${probability.toFixed(3)}`));
  const why = make("div", { class: "why" },
    make("section", {}, make("h3", {}, `Why ${answer}`), explanation(parts, "logit")));
  const card = make("li", { class: "example", id: `example-${k}`, tabindex: "-1" },
    make("div", { class: "seen" }, picture(image, `test image of ${name}`), facts), why);
  if (instead) {
    const title = make("h3", {}, `Why ${answer} and not ${name}`);
    why.append(make("section", {}, title, explanation(instead, "difference of logits")));
  }
  return card;
}

const examplePages = new PagedList("example", 12, "test images kept for this page", exampleCard);

function showExamples() {
  const [which, label] = [byId("example-which").value, chosen("example-class")];
  const found = places(data.examples).filter((k) => {
    const one = data.examples[k];
    if (which && (which === "right") !== (one.label === one.prediction)) return false;
    return label === null || one.label === label || one.prediction === label;
  });
  examplePages.set(found, data.examples.length);
}

// Addresses: #concept-3 and #class-5

function reveal(hash) {
  const [, what, place] = hash.match(/^#(concept|class)-(\d+)$/) || [];
  const k = Number(place);
  if (what === "concept" && data.concepts[k] && !conceptPages.reveal(k)) {
    for (const id of ["concept-search", "concept-kind", "concept-class"]) byId(id).value = "";
    showConcepts();
    conceptPages.reveal(k);
  }
  if (what === "class" && data.classes[k]) {
    if (!classPages.reveal(k)) {
      byId("class-search").value = "";
      showClasses();
      classPages.reveal(k);
    }
    const details = byId(`class-${k}`).firstChild;
    details.open = true;
    fill(details, k); // before the browser goes there
  }
  return what ? byId(hash.slice(1)) : null;
}

function start() {
  const options = (names) => names.map((name, k) => make("option", { value: k }, name));
  byId("concept-kind").append(...options(data.kinds));
  for (const id of ["concept-class", "example-class"]) byId(id).append(...options(data.classes.map(({ name }) => name)));
  byId("concept-kind").parentElement.hidden = data.kinds.length < 2;
  const shows = { concept: showConcepts, class: showClasses, example: showExamples };
  for (const element of document.querySelectorAll(".filters select, .filters input")) {
    element.addEventListener("input", shows[element.id.split("-")[0]]);
  }
  for (const part of document.querySelectorAll(".needs-script")) part.hidden = false;
  for (const show of Object.values(shows)) show();
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) reveal(link.hash); // the browser then goes there by itself
  });
  const arrive = () => reveal(location.hash)?.scrollIntoView();
  window.addEventListener("hashchange", arrive);
  arrive();
}

start();
