"use strict";
// What hovering, focusing or tapping a cell says.
const tip = document.getElementById("tip");
function showTip(cell) {
  const list = document.createElement("dl");
  for (const line of cell.dataset.tip.split("\n")) {
    const [label, value] = line.split("\t");
    list.append(Object.assign(document.createElement("dt"), { textContent: label }),
      Object.assign(document.createElement("dd"), { textContent: value }));
  }
  tip.replaceChildren(list);
  tip.hidden = false;
  const box = cell.getBoundingClientRect(), own = tip.getBoundingClientRect(), gap = 8;
  const left = Math.min(Math.max(gap, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - gap);
  const below = box.bottom + gap + own.height <= innerHeight || box.top - gap - own.height < 0;
  tip.style.left = left + "px";
  tip.style.top = (below ? box.bottom + gap : box.top - gap - own.height) + "px";
}
for (const table of document.querySelectorAll(".heat")) {
  const cellOf = (event) => event.target.closest("td[data-tip]");
  for (const name of ["mouseover", "focusin", "click"])
    table.addEventListener(name, (event) => { const cell = cellOf(event); if (cell) showTip(cell); });
  for (const name of ["mouseleave", "focusout"]) table.addEventListener(name, () => { tip.hidden = true; });
  // One stop for the tab key in each table; arrows move inside it.
  const grid = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("td")]);
  if (grid[0]?.[0]) grid[0][0].tabIndex = 0;
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  table.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
    const cell = cellOf(event), step = steps[event.key];
    if (!cell || !step) return;
    const row = grid.findIndex((cells) => cells.includes(cell)), col = grid[row].indexOf(cell);
    const next = grid[row + step[0]]?.[col + step[1]];
    if (!next) return;
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

// The table of all cells.
const cells = document.getElementById("all-cells");
if (cells) {
  const body = cells.tBodies[0], rows = [...body.rows];
  const words = document.getElementById("filter"), protocol = document.getElementById("protocol"), shown = document.getElementById("shown");
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(wanted.every((word) => text.includes(word)) && (!protocol.value || row.dataset.protocol === protocol.value));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} cells`;
  };
  words.addEventListener("input", filter);
  protocol.addEventListener("change", filter);
  filter();
  cells.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head || !event.target.closest("button")) return;
    const column = head.cellIndex, down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
    const numeric = head.classList.contains("num");
    rows.sort((a, b) => {
      const x = key(a), y = key(b);
      if (!numeric) return down * x.localeCompare(y);
      // Cells without a number come last in both directions.
      if (x === "" || y === "") return (x === "") - (y === "");
      return down * (Number(x) - Number(y));
    });
    body.append(...rows);
  });
}

// Training curves.
const panels = JSON.parse(document.getElementById("panels").textContent);
const decades = [-3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const css = getComputedStyle(document.documentElement), color = (name) => css.getPropertyValue(name).trim();
  for (const panel of panels) {
    const axis = { gridcolor: color("--line"), zeroline: false, linecolor: color("--line"), ticks: "", automargin: true };
    const traces = panel.traces.map((trace) => ({
      type: "scatter", mode: trace.markers ? "lines+markers" : "lines", name: trace.name, x: trace.x, y: trace.y,
      line: { color: trace.color, dash: trace.dash, width: 1.8 }, marker: { size: 5 },
    }));
    const layout = {
      font: { family: css.getPropertyValue("--sans"), size: 12, color: color("--soft") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 46, r: 8, t: 8, b: 30 },
      hovermode: "x unified", hoverlabel: { bgcolor: color("--paper"), bordercolor: color("--line"), font: { color: color("--ink") } },
      xaxis: { ...axis, showgrid: false, title: { text: "step", standoff: 4 } },
      yaxis: { ...axis, ...(panel.log ? { type: "log", tickmode: "array", tickvals: decades, ticktext: decades.map(String) } : {}), tickformat: panel.format },
      showlegend: traces.length > 1, legend: { orientation: "h", y: -0.2, font: { size: 11 } },
    };
    Plotly.react(panel.id, traces, layout, { displayModeBar: false, responsive: true });
  }
}
if (panels.length) {
  draw();
  dark.addEventListener("change", draw);
}
document.documentElement.dataset.ready = "yes";
