// One sample in full: large pictures, every score and reason, every detection, the way to the file.

const dialog = byId("dialog");

function short(value) {
  return Number.isNaN(value) ? "–" : String(Number(value.toPrecision(4)));
}

function scoresTable(place, row) {
  const head = el("tr", {}, el("th", { scope: "col" }, "score"), ...meta.runs.map((each, run) => el("th", { scope: "col", class: `r${run % 6}` }, each.label)));
  const lines = meta.metrics.map((metric, number) => {
    const cells = meta.runs.map((_, run) => {
      const why = number === meta.verdicts[settings().judge] ? null : row.runs[run].why?.[number];
      const value = short(samples.values[run][number][place]);
      return el("td", {}, value, why ? el("small", {}, why) : null);
    });
    return el("tr", {}, el("th", { scope: "row" }, `${metric.label} ${{ up: "↑", down: "↓" }[metric.better] ?? ""}`), ...cells);
  });
  return el("div", { class: "scroll", role: "region", "aria-label": "Scores", tabindex: "0" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines)));
}

function detectionsList(row) {
  const found = meta.runs.map((each, run) => {
    const boxes = row.runs[run].boxes;
    if (!boxes) return null;
    const texts = boxes.map((box) => el("li", {}, detectionText(box)));
    const list = texts.length ? el("ul", {}, ...texts) : el("p", { class: "soft" }, "nothing found");
    return el("div", {}, el("p", { class: `name r${run % 6}` }, each.label), list);
  });
  if (found.every((each) => each === null)) return null;
  return el("div", {}, el("h4", {}, "Detections"), el("div", { class: "columns" }, ...found));
}

// Only a page read from disk can reach the run's folder.
function originals(place, row) {
  if (location.protocol !== "file:") return null;
  const [prompt, index] = samples.ids[place].split("/");
  const links = meta.runs.map((each, run) => {
    if (row.runs[run].absent) return null;
    const href = `${each.images}${encodeURIComponent(prompt)}/samples/${encodeURIComponent(index)}.png`;
    return el("a", { class: `original r${run % 6}`, href, target: "_blank", rel: "noopener" }, each.label);
  });
  return links.some(Boolean) ? el("p", { class: "small" }, "The files themselves: ", ...links) : null;
}

async function showDialog(place) {
  const row = await rowOf(place);
  const tag = meta.tags[samples.tags[place]];
  dialog.dataset.place = place;
  byId("dialog-title").textContent = samples.texts[place];
  byId("dialog-body").replaceChildren(
    el("p", { class: "small soft" }, `${samples.ids[place]}${tag.name ? ` · ${tag.label}` : ""}`),
    el("div", { class: "figures large" }, ...figures(place, row, matchMedia("(max-width:34rem)").matches ? 72 : 50, settings().judge).filter(Boolean)),
    ...[scoresTable(place, row), detectionsList(row), originals(place, row)].filter(Boolean),
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}
