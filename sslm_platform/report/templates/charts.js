"use strict";
// Training curves, and predicted against measured.
const panels = JSON.parse(document.getElementById("panels").textContent);
const plots = JSON.parse(document.getElementById("plots").textContent);
const decades = [-3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
const dark = matchMedia("(prefers-color-scheme: dark)");
const SERIES = {{ series | tojson }};
const LINES = { dash: "dashed", dot: "dotted", dashdot: "dashed" };

async function loadPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const unpacking = new DecompressionStream("gzip"), writer = unpacking.writable.getWriter();
  writer.write(packed);
  writer.close();
  document.head.append(element("script", { textContent: await new Response(unpacking.readable).text() }));
}
// Below the chart, in the page's own flow, a legend of any length is never cut.
function legend(chart, traces) {
  const list = chart.closest("figure").querySelector(".chart-legend");
  list.replaceChildren(...(traces.length < 2 ? [] : traces).map((trace) => {
    const mark = element("i");
    mark.style.borderTop = `3px ${LINES[trace.dash] ?? "solid"} ${trace.color}`;
    return element("li", {}, mark, trace.name);
  }));
}
function plot(id, traces, options) {
  const css = getComputedStyle(document.documentElement), color = (name) => css.getPropertyValue(name).trim();
  const axis = { gridcolor: color("--line"), zeroline: false, linecolor: color("--line"), ticks: "", automargin: true };
  const colored = traces.map((trace) => ({ ...trace, color: trace.color || color("--ink") }));
  const layout = {
    font: { family: css.getPropertyValue("--sans"), size: 12, color: color("--soft") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 46, r: 8, t: 8, b: 36 },
    hovermode: options.hovermode, hoverlabel: { bgcolor: color("--paper"), bordercolor: color("--line"), font: { color: color("--ink") } },
    xaxis: { ...axis, ...options.x }, yaxis: { ...axis, ...options.y }, showlegend: false,
  };
  const drawn = colored.map(({ name, x, y, text, mode, color, dash }) => ({
    type: "scatter", mode, name, x, y, text, line: { color, dash, width: 1.8 }, marker: { size: text ? 7 : 5, color },
    ...(text ? { hovertemplate: "%{text}<br>predicted %{x}, measured %{y}" } : {}),
  }));
  Plotly.react(id, drawn, layout, { displayModeBar: false, responsive: true });
  legend(document.getElementById(id), colored);
}
function drawPanel(panel) {
  const log = panel.log ? { type: "log", tickmode: "array", tickvals: decades, ticktext: decades.map(String) } : {};
  const traces = panel.traces.map((trace) => ({ ...trace, mode: trace.markers ? "lines+markers" : "lines" }));
  plot(panel.id, traces, { hovermode: "x unified", x: { showgrid: false, title: { text: "step", standoff: 4 } }, y: { ...log, tickformat: panel.format } });
}
function drawPoints() {
  const chosen = plots[document.getElementById("estimator").value];
  const traces = chosen.traces.map((trace, i) => ({ ...trace, mode: "markers", color: SERIES[i % SERIES.length] }));
  plot("chart-predicted", traces, { hovermode: "closest", x: { title: { text: "predicted", standoff: 4 }, zeroline: true }, y: { title: { text: "measured" }, zeroline: true } });
}
function draw() {
  panels.forEach(drawPanel);
  if (plots.length) drawPoints();
}
async function start() {
  if (panels.length || plots.length) {
    await loadPlotly();
    draw();
    dark.addEventListener("change", draw);
    document.getElementById("estimator")?.addEventListener("change", drawPoints);
  }
  document.documentElement.dataset.ready = "yes";
}
start();
