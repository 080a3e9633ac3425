"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("scripted"); // shows the controls, which a page without scripts must not have
  if (matchMedia("(max-width: 60rem)").matches) {
    all(".contents details").forEach((part) => { part.open = false; }); // results first on a phone
  }

  // ---- Tables: order by a click on a header, and a field that filters the rows

  /** What a cell is ordered by: a number, text, or null where there is none. */
  function valueOf(cell) {
    const given = cell.dataset.value;
    if (given === undefined) return cell.textContent.trim();
    return given === "" ? null : Number(given);
  }

  /** Ascending for sign 1; infinity is the largest number, and what is missing is last either way. */
  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return a === b ? 0 : sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  }

  const NEXT = { ascending: "descending", descending: "none" };

  function order(table, rows, header) {
    const first = header.dataset.first || "ascending";
    const now = header.getAttribute("aria-sort");
    const last = NEXT[first] === "none" ? "ascending" : "descending";
    const next = now === first ? last : now === last ? "none" : first;
    all("thead th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const key = (row) => valueOf(row.cells[header.cellIndex]);
    const sorted = next === "none" ? rows : [...rows].sort((a, b) => compare(key(a), key(b), sign));
    table.tBodies[0].append(...sorted);
  }

  function makeSortable(table) {
    const rows = [...table.tBodies[0].rows];
    all("thead th", table).filter((header) => header.dataset.sort !== "no").forEach((header) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      header.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => order(table, rows, header));
    });
  }

  const leftOut = new Set(); // numbers of variants, as text
  const isLeftOut = (part) => (part.dataset.v ?? "").split(" ").some((v) => leftOut.has(v));

  function showRows(box) {
    const words = (box.querySelector("input")?.value ?? "").toLowerCase().split(/\s+/);
    const rows = [...box.querySelector("tbody").rows]; // what stands apart is always shown
    rows.forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = isLeftOut(row) || !words.every((word) => text.includes(word));
    });
    const shown = rows.filter((row) => !row.hidden).length;
    const count = box.querySelector("output");
    if (count) count.value = shown === rows.length ? "" : `${shown} of ${rows.length} rows`;
  }

  const tables = all(".table");
  tables.forEach((box) => {
    makeSortable(box.querySelector("table"));
    box.querySelector("input")?.addEventListener("input", () => showRows(box));
  });

  // ---- Charts: drawn when they come near the view, with a plotly that is inflated only then

  const figures = all("figure.chart");
  /** The file writes infinity as text, and a backslash before text that would be taken for it. */
  const unescaped = (_, value) =>
    typeof value === "string" ? value.replace(/^\\(?=\\*(-?inf|nan)$)/, "") : value;
  const specOf = (figure) => JSON.parse(figure.querySelector("script").textContent, unescaped);
  const specs = new Map(figures.map((figure) => [figure, specOf(figure)]));
  const drawn = new Set();
  let loading;

  async function inflated() {
    const packed = atob(document.getElementById("plotly").textContent);
    const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.Plotly;
  }

  const plotly = () => (loading ??= inflated());

  /** A colour of the style sheet, by the name of its class, as the present mode has it. */
  function colour(name) {
    const probe = document.getElementById("probe");
    probe.className = `colour-${name}`;
    return getComputedStyle(probe).color;
  }

  /** A copy in which the names of colours are replaced by the colours. */
  function painted(value, key) {
    if (Array.isArray(value)) return value.map((inner) => painted(inner, key));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v, k)]));
    return typeof value === "string" && /color$/.test(key) ? colour(value) : value;
  }

  const coarse = matchMedia("(pointer: coarse)").matches;
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    displayModeBar: coarse ? false : "hover",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  };

  function layoutOf(spec, traces, width) {
    const layout = painted(spec.layout, "");
    const text = colour("text"), grid = colour("grid"), line = colour("muted");
    Object.entries(layout).filter(([name]) => /^[xy]axis/.test(name)).forEach(([, axis]) => {
      Object.assign(axis, { gridcolor: grid, zerolinecolor: grid, linecolor: line, tickcolor: line });
    });
    return {
      ...layout,
      ...(width ? { width } : {}),
      autosize: !width,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: text },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      dragmode: coarse ? false : "zoom", // a finger scrolls the page
      modebar: { bgcolor: colour("surface"), color: line, activecolor: text },
      hoverlabel: { bgcolor: colour("surface"), bordercolor: line, font: { color: text } },
    };
  }

  /** Draw at once, with a plotly that is there. */
  function drawNow(figure, width) {
    const spec = specs.get(figure);
    const traces = spec.data.filter((trace) => !leftOut.has(String(trace.meta)));
    const layout = layoutOf(spec, traces, width);
    drawn.add(figure);
    return window.Plotly.react(figure.querySelector(".plot"), painted(traces, ""), layout, CONFIG);
  }

  async function draw(figure) {
    try {
      await plotly();
      await drawNow(figure);
      figure.dataset.state = "drawn";
    } catch (error) {
      figure.querySelector(".plot").textContent =
        "This browser cannot draw the chart. The tables hold its figures.";
      console.error(error);
    }
  }

  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      near.unobserve(entry.target);
      draw(entry.target);
    }),
    { rootMargin: "600px 0px" },
  );
  figures.forEach((figure) => near.observe(figure));
  const redraw = () => drawn.forEach((figure) => draw(figure));

  // ---- One choice of variants for all tables and charts

  const boxes = all(".variants input");
  function chooseVariants() {
    leftOut.clear();
    boxes.filter((box) => !box.checked).forEach((box) => leftOut.add(box.value));
    all(".legend li").forEach((item) => { item.hidden = isLeftOut(item); });
    tables.forEach(showRows);
    redraw();
  }
  boxes.forEach((box) => box.addEventListener("change", chooseVariants));
  all(".variants button").forEach((button) => button.addEventListener("click", () => {
    boxes.forEach((box) => { box.checked = button.value === "all"; });
    chooseVariants();
  }));

  // ---- Light and dark, as the system has it or by the switch

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const toggle = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const showMode = () => toggle.setAttribute("aria-pressed", String(isDark()));
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showMode();
    redraw();
  });
  dark.addEventListener("change", () => { showMode(); redraw(); });
  showMode();

  // ---- Print: every chart, light, and as wide as the paper

  const PAPER = 680;
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    if (window.Plotly) figures.forEach((figure) => drawNow(figure, PAPER));
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    redraw();
  });
  addEventListener("load", () => setTimeout(plotly, 300)); // so that the page can be printed
})();
