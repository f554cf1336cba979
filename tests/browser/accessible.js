/* The rules of axe-core that a page like this can break, as far as they can be judged here: what no screen reader or
   keyboard can reach, what has no name, what cannot be read. Returns what is wrong, a line each. */
const wrong = [];
const say = (rule, element) => wrong.push(rule + ": " + element.outerHTML.slice(0, 120));
const seen = (element) => element.checkVisibility && element.checkVisibility() && element.getClientRects().length > 0;
const named = (element) => (element.getAttribute("aria-label") || element.textContent || "").trim() !== "" ||
  (element.getAttribute("aria-labelledby") || "").split(/\s+/).some((id) => id && document.getElementById(id) && document.getElementById(id).textContent.trim());
const all = (selector) => [...document.querySelectorAll(selector)];

if (!document.documentElement.lang) wrong.push("html-has-lang");
if (!document.title.trim()) wrong.push("document-title");
if (all("main").length !== 1) wrong.push("landmark-one-main");
if (all("h1").length !== 1) wrong.push("page-has-heading-one");
const ids = all("[id]").map((element) => element.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("duplicate-id: " + id);
let level = 0;
for (const heading of all("h1,h2,h3,h4").filter(seen)) {
  const next = Number(heading.tagName[1]);
  if (next > level + 1) say("heading-order", heading);
  if (!heading.textContent.trim()) say("empty-heading", heading);
  level = next;
}
for (const cell of all("th")) if (!named(cell)) say("empty-table-header", cell);
for (const button of all("button,summary,a")) if (seen(button) && !named(button)) say("button-name, link-name", button);
for (const field of all("input:not([type=hidden]),select,textarea")) if (!field.labels.length && !field.getAttribute("aria-label")) say("label", field);
for (const image of all("[role=img],img")) if (!image.getAttribute("aria-label") && !image.alt) say("svg-img-alt", image);
for (const part of all("[role=region],[role=group],[role=search],section")) {
  if (part.tagName !== "SECTION" && !named(part)) say("aria-name", part);
}
for (const list of all("ul,ol")) for (const child of list.children) if (child.tagName !== "LI") say("list", child);
for (const box of all("*")) {
  const style = getComputedStyle(box);
  const scrolls = (/auto|scroll/.test(style.overflowY) && box.scrollHeight > box.clientHeight + 1) ||
    (/auto|scroll/.test(style.overflowX) && box.scrollWidth > box.clientWidth + 1);
  if (scrolls && seen(box) && box.tabIndex < 0 && !box.querySelector("a,button,input,[tabindex='0']")) say("scrollable-region-focusable", box);
}
for (const element of all("[tabindex]")) if (element.tabIndex > 0) say("tabindex", element);
const landmarks = all("section[aria-label],section[aria-labelledby],[role=region],[role=search],nav").filter(seen).map((element) =>
  element.tagName + (element.getAttribute("aria-label") || document.getElementById(element.getAttribute("aria-labelledby")).textContent));
for (const name of landmarks) if (landmarks.indexOf(name) !== landmarks.lastIndexOf(name)) wrong.push("landmark-unique: " + name);

/* Contrast: of text 4.5 to 1 (3 to 1 where it is large), of lines that mean something 3 to 1. */
const rgb = (text) => { const n = text.match(/[\d.]+/g).map(Number); return n.length < 4 || n[3] > 0 ? n.slice(0, 3) : null; };
const light = (color) => {
  const [r, g, b] = color.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) { const color = rgb(getComputedStyle(e).backgroundColor); if (color) return color; }
  return [255, 255, 255];
};
for (const element of all("body *")) {
  const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!text || !seen(element) || element.closest("tr.fresh") || element.closest("[aria-disabled]")) continue;
  const style = getComputedStyle(element), svg = element instanceof SVGElement;
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  const got = ratio(rgb(svg ? style.fill : style.color), ground(element));
  if (got < (large ? 3 : 4.5)) say("color-contrast " + got.toFixed(2), element);
}
for (const path of all("svg path").filter(seen)) {
  const style = getComputedStyle(path), color = rgb(style.stroke === "none" ? style.fill : style.stroke);
  if (color && ratio(color, ground(path)) < 3) say("chart contrast " + ratio(color, ground(path)).toFixed(2), path);
}
for (const edge of all("button,summary,input:not([type=radio]):not([type=hidden]),select").filter(seen)) {
  const style = getComputedStyle(edge);
  if (parseFloat(style.borderTopWidth) > 0 && ratio(rgb(style.borderTopColor), ground(edge.parentElement)) < 3) say("edge contrast", edge);
}
return wrong;
