"use strict";
// What hovering over a cell, or focusing it, says.
const tip = document.getElementById("tip");
const headOf = (cell) => cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
const rowOf = (cell) => cell.parentElement.cells[0];
function placeOf(cell) {
  const isFloor = cell.parentElement.classList.contains("is-floor");
  return [[isFloor ? "baseline" : "source", rowOf(cell).title || "none"], ["target", headOf(cell).title]];
}
function factsOf(cell) {
  return [...placeOf(cell), ...cell.dataset.tip.split("\n").map((line) => line.split("\t"))];
}
function listOf(facts, list) {
  list.replaceChildren(...facts.flatMap(([label, value]) => [
    Object.assign(document.createElement("dt"), { textContent: label }),
    Object.assign(document.createElement("dd"), { textContent: value })]));
  return list;
}
function showTip(cell) {
  tip.replaceChildren(listOf(factsOf(cell), document.createElement("dl")));
  tip.hidden = false;
  const box = cell.getBoundingClientRect(), own = tip.getBoundingClientRect(), gap = 8;
  const left = Math.min(Math.max(gap, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - gap);
  const below = box.bottom + gap + own.height <= innerHeight || box.top - gap - own.height < 0;
  tip.style.left = left + "px";
  tip.style.top = (below ? box.bottom + gap : box.top - gap - own.height) + "px";
}

const hasRuns = document.getElementById("details") !== null;
const heats = [...document.querySelectorAll(".heat")];
const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
for (const table of heats) {
  const cellOf = (event) => event.target.closest("td[data-tip]");
  for (const name of ["mouseover", "focusin"])
    table.addEventListener(name, (event) => { const cell = cellOf(event); if (cell) showTip(cell); });
  for (const name of ["mouseleave", "focusout"]) table.addEventListener(name, () => { tip.hidden = true; });
  table.addEventListener("click", (event) => { const cell = cellOf(event); if (cell && hasRuns) showRuns(cell); });
  // One stop for the tab key in each table; arrows move inside it.
  const first = table.querySelector("td");
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
    const cell = cellOf(event), step = steps[event.key];
    if (cell && hasRuns && event.key === "Enter") showRuns(cell);
    if (!cell || !step) return;
    const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    const cols = [...table.tHead.rows[0].cells].slice(1).filter((head) => !head.hidden).map((head) => head.cellIndex);
    const row = rows[rows.indexOf(cell.parentElement) + step[0]], col = cols[cols.indexOf(cell.cellIndex) + step[1]];
    const next = row?.cells[col];
    if (!next || !col) return;
    event.preventDefault();
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });

// Which baseline a gain is over.
for (const choice of document.querySelectorAll("select.baseline"))
  choice.addEventListener("change", () => {
    for (const table of choice.closest("figure").querySelectorAll("[data-baseline]"))
      table.hidden = table.dataset.baseline !== choice.value;
  });

// Which sources and targets are shown, and in what order.
const tools = Object.fromEntries(["sources", "targets", "order"].map((id) => [id, document.getElementById(id)]));
function showMatching() {
  const [forSources, forTargets] = [tools.sources, tools.targets].map((input) => {
    const words = input.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    return (name) => !words.length || words.some((word) => name.toLowerCase().includes(word));
  });
  const shown = { sources: new Set(), targets: new Set() };
  for (const table of heats) {
    const heads = [...table.tHead.rows[0].cells].slice(1);
    const keep = heads.map((head) => forTargets(head.title));
    heads.forEach((head, i) => { head.hidden = !keep[i]; if (keep[i]) shown.targets.add(head.title); });
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.classList.contains("is-floor") && !forSources(row.cells[0].title || "no source");
      if (!row.hidden && !row.classList.contains("is-floor")) shown.sources.add(row.cells[0].title);
      keep.forEach((kept, i) => { row.cells[i + 1].hidden = !kept; });
    }
  }
  const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
  document.getElementById("matrix-shown").textContent = `${count(shown.sources.size, "source")}, ${count(shown.targets.size, "target")}`;
}
function reorder() {
  const key = tools.order.value === "like" ? "place" : "planned";
  for (const table of heats) {
    const head = table.tHead.rows[0], body = table.tBodies[0];
    const cols = [...head.cells].slice(1).sort((a, b) => a.dataset[key] - b.dataset[key]);
    const from = cols.map((cell) => cell.cellIndex);
    for (const row of [head, ...body.rows]) {
      const cells = [...row.cells];
      row.append(...from.map((index) => cells[index]));
    }
    const rows = [...body.rows].filter((row) => !row.classList.contains("is-floor"));
    body.prepend(...rows.sort((a, b) => a.dataset[key] - b.dataset[key]));
  }
}
if (heats.length && tools.order) {
  for (const table of heats) {
    [...table.tHead.rows[0].cells].forEach((head, i) => { head.dataset.planned = i; });
    [...table.tBodies[0].rows].forEach((row, i) => { row.dataset.planned = i; });
  }
  for (const name of ["sources", "targets"]) tools[name].addEventListener("input", showMatching);
  tools.order.addEventListener("change", reorder);
  showMatching();
}
