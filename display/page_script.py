"""What the page does besides standing there: tables that sort and filter, links that open charts, a page kept fresh.

Plain script in the page itself; without it (a mail program, a browser with scripts off) everything is still readable.
"""

from __future__ import annotations

SCRIPT = r"""
"use strict";
const SORTED_FROM = 4, FILTERED_FROM = 8;  // rows; shorter tables are seen at a glance

function keyOf(cell) {
  const text = cell.textContent.trim();
  const number = /^[+-]?[\d,]*\.?\d+(%| USD)?$/.test(text) ? parseFloat(text.replace(/[,+]/g, "")) : NaN;
  return {text, number, empty: text === "-" || text === ""};
}

function sortBy(table, column, button) {
  const heading = button.parentElement, down = heading.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0], sign = down ? -1 : 1;
  const rows = [...body.rows].map((row) => ({row, key: keyOf(row.cells[column])}));
  const numbers = rows.every(({key}) => key.empty || !Number.isNaN(key.number));
  rows.sort((a, b) => {
    if (a.key.empty || b.key.empty) return a.key.empty - b.key.empty;  // what is not known comes last either way
    return sign * (numbers ? a.key.number - b.key.number : a.key.text.localeCompare(b.key.text));
  });
  body.append(...rows.map(({row}) => row));
}

function makeSortable(table) {
  if (table.tBodies[0].rows.length < SORTED_FROM) return;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (table.tBodies[0].rows[0].cells[column].querySelector("svg")) return;  // a picture has no order
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(table, column, button));
    heading.append(button);
  });
}

function makeFilter(box, table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < FILTERED_FROM) return;
  const line = document.createElement("p"), label = document.createElement("label");
  const input = document.createElement("input"), count = document.createElement("span");
  line.className = "filter";
  input.type = "search";
  input.autocomplete = "off";
  count.setAttribute("role", "status");
  label.append("Show rows with ", input);
  line.append(label, " ", count);
  box.before(line);
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${rows.length}` : "";
  };
  input.addEventListener("input", apply);
}

// What a reader has opened and sorted outlives a reload of the page by itself. The new page may have another table or
// column, so each is known by its name.
function remember() {
  const sorted = [...document.querySelectorAll("th[aria-sort]")].map((heading) =>
    [heading.closest("table").caption.textContent, heading.textContent, heading.getAttribute("aria-sort")]);
  const opened = [...document.querySelectorAll("details")].filter((each) => each.open).map((each) => each.id);
  try { sessionStorage.setItem("report-state", JSON.stringify({sorted, opened})); } catch (error) { /* then not */ }
}

function recall() {
  let state = null;
  try {
    state = JSON.parse(sessionStorage.getItem("report-state"));
    sessionStorage.removeItem("report-state");
  } catch (error) { return false; }
  if (!state) return false;
  document.querySelectorAll("details").forEach((each) => { each.open = state.opened.includes(each.id); });
  const tables = [...document.querySelectorAll("table")];
  state.sorted.forEach(([caption, column, order]) => {
    const table = tables.find((each) => each.caption.textContent === caption);
    const heading = table && [...table.tHead.rows[0].cells].find((each) => each.textContent === column);
    const button = heading && heading.querySelector("button");
    if (!button) return;
    button.click();
    if (order === "descending") button.click();
  });
  return true;
}

function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
  if (target) target.scrollIntoView();
}

function keepFresh(line) {
  const seconds = Number(line.dataset.every), written = new Date(line.dataset.written);
  const box = line.querySelector("input"), age = line.querySelector("[data-age]");
  const wanted = "report-fresh";
  try { box.checked = localStorage.getItem(wanted) !== "no"; } catch (error) { box.checked = true; }
  box.addEventListener("change", () => {
    try { localStorage.setItem(wanted, box.checked ? "yes" : "no"); } catch (error) { /* only for this page then */ }
  });
  const busy = () => document.activeElement && document.activeElement.matches("input[type=search]")
    || [...document.querySelectorAll("input[type=search]")].some((input) => input.value);
  const say = () => {
    const minutes = Math.round((Date.now() - written) / 60000);
    const old = minutes * 60 > 3 * seconds;
    age.textContent = minutes < 1 ? "just now" : minutes < 120 ? `${minutes} min ago`
      : `${Math.round(minutes / 60)} hours ago`;
    age.textContent += old ? "; nothing has written it since: is the trader running?" : "";
  };
  line.hidden = false;
  say();
  setInterval(say, 30000);
  setInterval(() => {
    if (!box.checked || busy() || document.hidden) return;
    remember();
    location.reload();
  }, seconds * 1000);
}

document.querySelectorAll(".scroll").forEach((box) => {
  const table = box.querySelector("table");
  makeFilter(box, table);
  makeSortable(table);
});
document.querySelectorAll(".fresh").forEach(keepFresh);
addEventListener("hashchange", openTarget);
if (!recall()) openTarget();
"""
