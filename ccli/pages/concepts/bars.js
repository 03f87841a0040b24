"use strict";
// What page.js builds from: elements, pictures and bars. Everything from the data is set as text, never as markup.
const data = JSON.parse(document.getElementById("page-data").textContent);
const byId = (id) => document.getElementById(id);
const nameOf = (k) => (data.classes[k] ? data.classes[k].name : `label ${k}`);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "–");
const classLink = (k) => make("a", { href: `#class-${k}` }, nameOf(k));

function picture(index, alt) {
  const uri = data.images[index] ? data.images[index].uri : "";
  if (!uri) return make("span", { class: "gap", role: "img", "aria-label": `no picture: ${alt}` });
  return make("img", { src: uri, alt });
}

function pictures(indices) {
  const figures = indices.map((index) => {
    const name = nameOf(data.images[index].label);
    return make("figure", {}, picture(index, `training image of ${name}`), make("figcaption", { title: name }, name));
  });
  return make("div", { class: "pictures" }, ...figures);
}

// So many decimals that the largest number of a group has three digits.
function decimals(values) {
  const largest = Math.max(...values.map(Math.abs), 1e-9);
  return Math.min(Math.max(2 - Math.floor(Math.log10(largest)), 1), 4);
}

function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

function bar(value, low, high) {
  const whole = high - low || 1;
  const end = Math.min(Math.max(value, low), high);
  const fill = make("span", { class: `${value < 0 ? "against" : "for"}${end === value ? "" : " cut"}` });
  fill.style.left = `${(100 * (Math.min(end, 0) - low)) / whole}%`;
  fill.style.width = `${(100 * Math.abs(end)) / whole}%`;
  const zero = make("i");
  zero.style.left = `${(-100 * low) / whole}%`;
  return make("td", { class: "bar" }, make("div", { "aria-hidden": "true" }, fill, zero));
}

// A table of [label or element, value] with a bar each, and the sum, which has none. The last line's bar is cut where
// it is longer than all `single` ones before it: the sum of a thousand concepts would leave nothing to see of them.
function barTable(caption, lines, sumName, sum, single = lines.length) {
  const values = lines.map(([, value]) => value);
  const alone = values.slice(0, single);
  const longest = Math.max(...alone.map(Math.abs));
  const drawn = values.map((value) => Math.min(Math.max(value, -longest), longest));
  const [low, high, digits] = [Math.min(0, ...drawn), Math.max(0, ...drawn), decimals(alone)];
  const rows = lines.map(([label, value]) =>
    make("tr", { "data-value": value }, make("th", { scope: "row" }, label), bar(value, low, high),
      make("td", {}, signed(value, digits))),
  );
  const last = make("tr", { class: "sum", "data-value": sum }, make("th", { scope: "row" }, sumName), make("td"),
    make("td", {}, signed(sum, digits)));
  return make("table", { class: "bars" }, make("caption", {}, caption), make("tbody", {}, ...rows, last));
}

const NOTHING = 5e-4; // a part below this is not listed among few

// What stands before a concept's name.
function prefix(lacked, concept) {
  if (concept.doubtful) return lacked ? "does not look like " : "looks like ";
  return lacked ? "not " : "";
}

const before = (parts, k) => prefix(parts.lacked.includes(k), data.concepts[k]);
const also = ({ also: names = [], more }) => (names.length ? `also: ${names.join(", ")}${more ? ` and ${more} more` : ""}` : "");

function conceptLabel(parts, k) {
  const concept = data.concepts[k];
  const first = concept.images.find((index) => data.images[index].uri);
  const name = make("span", {}, before(parts, k), make("a", { href: `#concept-${k}` }, concept.name));
  if (concept.also) name.append(make("small", {}, ` (${also(concept)})`));
  if (first === undefined) return name;
  const image = make("img", { src: data.images[first].uri, alt: "", class: "mini" });
  return make("span", { class: "labelled" }, image, name);
}

// The concepts and the class name that add up to a number.
function fewParts(parts, single, sumName) {
  const rest = [["class name", parts.zero_shot], ["constant", parts.constant]].filter(([, value]) => Math.abs(value) >= NOTHING);
  const caption = rest.length ? "Concepts and class name" : "Concepts";
  const table = barTable(caption, [...single, ...rest], sumName, parts.total, single.length || rest.length);
  return make("div", { class: "explanation" }, table);
}

// The parts that add up to a number, and the concepts that add up to one of the parts.
function explanation(parts, sumName) {
  const single = parts.concepts.map(([k, value]) => [conceptLabel(parts, k), value]);
  if (data.sparse) return fewParts(parts, single, sumName);
  const [others, rest] = parts.others;
  const concepts = parts.concepts.reduce((sum, [, value]) => sum + value, rest);
  const lines = [["class name", parts.zero_shot], ["class texts", parts.class_texts], ["concepts", concepts]];
  if (parts.constant) lines.push(["constant", parts.constant]);
  const box = make("div", { class: "explanation" }, barTable("Parts", lines, sumName, parts.total));
  if (others) single.push([`${others} other concept${others === 1 ? "" : "s"}`, rest]);
  if (parts.concepts.length) box.append(barTable("Strongest concepts", single, "concepts", concepts, parts.concepts.length));
  else box.append(make("p", { class: "note" }, "No concept has a part in this."));
  return box;
}
