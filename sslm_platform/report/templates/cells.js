"use strict";
// The records behind the page: the table of all cells, and the runs of a matrix's cell.
const data = JSON.parse(document.getElementById("cells-data").textContent);
const records = data.rows.map((row) => Object.fromEntries(data.columns.map((name, i) => [name, row[i]])));
const element = (tag, fields = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), fields);
  made.append(...children);
  return made;
};
const number = (value, digits = 0) =>
  value === null ? "" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

// Links work where the page is in the run's folder.
function linksOf(record) {
  const links = [];
  if (record.id) links.push(element("a", { href: `../transfer/cells/${record.id}/record.json`, textContent: "cell" }));
  if (record.training) links.push(" ", element("a", { href: `../transfer/trainings/${record.training}/record.json`, textContent: "training" }));
  return links.length ? links : ["no record"];
}
function runRow(record, name) {
  const cell = (text, className = "num") => element("td", { textContent: text, className });
  const row = element("tr", {}, cell(name || record.protocol, ""), cell(record.source || "–", ""), cell(record.seed),
    cell(record.shown), cell(record.interval), cell(number(record.seconds, 1)), element("td", {}, ...linksOf(record)));
  if (record.error) row.append(element("td", { textContent: record.error, className: "break" }));
  return row;
}
function showDetails(title, facts, chosen) {
  document.getElementById("details-title").textContent = title;
  listOf(facts, document.getElementById("details-facts"));
  const others = new Map();
  for (const record of chosen) for (const [name, row] of record.baselines) others.set(row, name);
  document.getElementById("details-cells").tBodies[0].replaceChildren(
    ...chosen.map((record) => runRow(record)),
    ...[...others].map(([row, name]) => runRow(records[row], name)));
  tip.hidden = true;
  document.getElementById("details").showModal();
}
function showRuns(cell) {
  const [[kind, source], [, target]] = placeOf(cell);
  if (kind === "baseline") return;
  const protocol = cell.closest("table").dataset.protocol;
  const chosen = records.filter((r) => r.protocol === protocol && (r.source || "none") === source && r.target === target);
  showDetails(`${source} → ${target}, ${protocol}`, factsOf(cell).slice(2), chosen);
}
const dialog = document.getElementById("details");
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

const table = document.getElementById("all-cells");
if (table) {
  const FIRST = 200;
  const words = document.getElementById("filter"), protocol = document.getElementById("protocol");
  const shown = document.getElementById("shown"), more = document.getElementById("more");
  const texts = records.map((r) => [r.protocol, r.source, r.target, r.metric, r.shown].join(" ").toLowerCase());
  let order = records.map((_, i) => i), limit = FIRST;
  const cellRow = (i) => {
    const r = records[i], num = (text, value) => {
      const cell = element("td", { textContent: text, className: "num" });
      cell.dataset.v = value ?? "";
      return cell;
    };
    const row = element("tr", { title: r.error }, ...[r.protocol, r.source || "–", r.target].map((text) => element("td", { textContent: text })),
      num(r.seed, r.seed), element("td", { textContent: r.metric }), num(r.shown, r.value), num(r.interval, r.low),
      num(number(r.num_train), r.num_train), num(number(r.num_test), r.num_test), num(number(r.seconds, 1), r.seconds), num(number(r.num_tokens), r.num_tokens));
    row.dataset.row = i;
    return row;
  };
  const show = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = order.filter((i) => wanted.every((word) => texts[i].includes(word)) && (!protocol.value || records[i].protocol === protocol.value));
    table.tBodies[0].replaceChildren(...found.slice(0, limit).map(cellRow));
    more.hidden = found.length <= limit;
    shown.textContent = `${found.length} of ${records.length} cells` + (more.hidden ? "" : `, the first ${limit} shown`);
  };
  const again = () => { limit = FIRST; show(); };
  words.addEventListener("input", again);
  protocol.addEventListener("change", again);
  more.addEventListener("click", () => { limit = Infinity; show(); });
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head || !event.target.closest("button")) return;
    const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1, key = head.dataset.column;
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
    order.sort((a, b) => {
      const x = records[a][key], y = records[b][key];
      if (typeof (x ?? y) === "string") return down * x.localeCompare(y);
      // Cells without a number come last in both directions.
      return x === null || y === null ? (x === null) - (y === null) : down * (x - y);
    });
    show();
  });
  table.tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr"), record = records[row.dataset.row];
    showDetails(`${record.source || "no source"} → ${record.target}, ${record.protocol}`, [["metric", record.metric]], [record]);
  });
  show();
}
