// Put into the page's head: notes what goes wrong, then acts like a reader and reports to the frame's parent.
const seen = { errors: [], blocked: [] };
addEventListener("error", (event) => seen.errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) => seen.errors.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => seen.blocked.push(event.blockedURI));
for (const name of ["error", "warn"]) {
  const original = console[name];
  console[name] = (...words) => {
    seen.errors.push(words.join(" "));
    original(...words);
  };
}

const shownRows = (table) => [...table.tBodies[0].rows].filter((row) => !row.hidden);

function hover(answers) {
  const table = document.querySelector(".heat");
  const tip = document.getElementById("tip");
  table.tBodies[0].rows[1].cells[3].dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
  answers.tip = tip.innerText;
  answers.tipShown = !tip.hidden;
  const first = table.tBodies[0].rows[0].cells[1];
  first.focus();
  first.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  answers.focus = tip.innerText;
  table.tBodies[0].rows[1].cells[3].click();
  const dialog = document.getElementById("details");
  answers.details = dialog.open ? dialog.innerText : "";
  answers.links = [...dialog.querySelectorAll("a")].map((link) => link.getAttribute("href"));
  dialog.close();
}

function input(id, value, name = "input") {
  const field = document.getElementById(id);
  field.value = value;
  field.dispatchEvent(new Event(name));
}

function pickEstimator(answers) {
  const points = () => [...document.querySelectorAll("#chart-predicted .scatterlayer .trace")]
    .map((trace) => trace.querySelectorAll(".point").length);
  if (!document.getElementById("estimator")) return;
  answers.points = points();
  input("estimator", "1", "change");
  answers.otherPoints = points();
}

function arrange(answers) {
  const table = document.querySelector(".heat");
  const visible = (cells) => [...cells].filter((cell) => !cell.hidden);
  const names = () => ({
    rows: visible(table.tBodies[0].rows).map((row) => row.cells[0].title),
    cols: visible(table.tHead.rows[0].cells).slice(1).map((head) => head.title),
    values: visible(table.tBodies[0].rows).map((row) => visible(row.cells).slice(1).map((cell) => cell.textContent.trim())),
  });
  answers.planned = names();
  input("order", "like", "change");
  answers.like = names();
  input("sources", "movies, news");
  input("targets", "tweets");
  answers.matching = names();
  answers.matched = document.getElementById("matrix-shown").textContent;
  input("sources", "");
  input("targets", "");
  input("order", "plan", "change");
  answers.again = names();
}

function choose(answers) {
  const choice = document.querySelector("select.baseline");
  choice.value = "majority";
  choice.dispatchEvent(new Event("change"));
  const tables = [...choice.closest("figure").querySelectorAll("[data-baseline]")];
  answers.baselines = tables.filter((table) => !table.hidden).map((table) => table.dataset.baseline);
}

function sortAndFilter(answers) {
  const table = document.getElementById("all-cells");
  const values = () => shownRows(table).map((row) => row.cells[5].dataset.v);
  const button = table.tHead.rows[0].cells[5].querySelector("button");
  button.click();
  answers.up = values();
  button.click();
  answers.down = values();
  input("filter", "tfidf MOVIES");
  answers.filtered = shownRows(table).map((row) => row.textContent);
  answers.shown = document.getElementById("shown").textContent;
}

function measure(answers) {
  const charts = [...document.querySelectorAll(".chart")];
  answers.charts = charts.map((chart) => chart.querySelectorAll(".scatterlayer .trace").length);
  answers.legends = [...document.querySelectorAll(".chart-legend")].map((list) => list.children.length);
  const blocks = document.querySelectorAll("main > *, .findings > *, figure, .charts > *, .pairs > *");
  const isWide = (block) => block.getBoundingClientRect().right > innerWidth + 1;
  answers.width = innerWidth;
  answers.wide = [...blocks].filter(isWide).map((block) => block.tagName + "." + block.className);
}

addEventListener("load", () => setTimeout(function look(tries = 40) {
  if (document.documentElement.dataset.ready !== "yes" && tries) {
    setTimeout(look, 100, tries - 1);
    return;
  }
  const answers = {};
  for (const act of [measure, hover, pickEstimator, arrange, choose, sortAndFilter]) {
    try {
      act(answers);
    } catch (error) {
      seen.errors.push(`${act.name}: ${error}`);
    }
  }
  const requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  const ready = document.documentElement.dataset.ready;
  parent.postMessage(JSON.stringify({ ...seen, requests, ready, answers }), "*");
}, 500));
