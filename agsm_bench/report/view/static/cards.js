// Pictures with their detections, and the cards of the gallery.

const WORDS = { correct: "✓ correct", wrong: "✗ wrong", unscored: "– unscored", scored: "" };
const SMALL = 128; // pixels: up to here a picture is enlarged pixel by pixel
const GRID = 1000; // units that a picture is wide under its detections

function detectionText([label, color, score]) {
  return `${color ? `${color} ` : ""}${label} ${Number(score).toFixed(2)}`;
}

// Where a label does not hide another one, of eight places around its box.
function labelPlace([x0, y0, x1, y1], width, line, height, taken) {
  const xs = [x0, x1 - width].map((x) => Math.max(0, Math.min(x, GRID - width)));
  const ys = [y0 - line, y1, y0, y1 - line].map((y) => Math.max(0, Math.min(y, height - line)));
  const places = ys.flatMap((y) => xs.map((x) => [x, y]));
  const free = ([x, y]) => taken.every(([u, v, w]) => x + width <= u || u + w <= x || y + line <= v || v + line <= y);
  return places.find(free) ?? places[0];
}

function overlay(shot, size) {
  const scale = GRID / shot.w;
  const height = shot.h * scale;
  const line = size * 1.25;
  const taken = [];
  const marks = shot.boxes.map((found, number) => {
    const box = found.slice(3).map((side) => side * scale);
    const [x0, y0, x1, y1] = box;
    const text = detectionText(found);
    const width = text.length * size * 0.54 + size * 0.5;
    const [x, y] = labelPlace(box, width, line, height, taken);
    taken.push([x, y, width]);
    const edge = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    return svg(
      "g",
      { class: `b${number % 6}` },
      svg("rect", { class: "halo", ...edge }),
      svg("rect", { class: "box", ...edge }),
      svg("rect", { class: "plate", x, y, width, height: line }),
      svg("text", { x: x + size * 0.25, y: y + size * 0.95, "font-size": size }, text),
    );
  });
  return svg("svg", { class: "boxes", viewBox: `0 0 ${GRID} ${height}`, "aria-hidden": "true" }, ...marks);
}

function stage(shot, alt, labelSize) {
  if (shot.absent) return el("div", { class: "stage absent" }, `no picture: ${shot.absent}`);
  const pixelated = Math.max(shot.w, shot.h) <= SMALL ? "pixelated" : null;
  const sized = { width: shot.w, height: shot.h, alt, loading: "lazy", decoding: "async" };
  return el(
    "div",
    { class: "stage" },
    el("img", { class: pixelated, src: shot.src, ...sized }),
    shot.mask ? el("img", { class: "mask pixelated", src: shot.mask, alt: "", width: shot.w, height: shot.h }) : null,
    shot.boxes?.length ? overlay(shot, labelSize) : null,
  );
}

function runFigure(place, row, run, labelSize, judge) {
  const verdict = verdictOf(run, place, judge);
  const label = meta.runs[run].label;
  const why = row.runs[run].why?.[meta.verdicts[judge]];
  return el(
    "figure",
    {},
    stage(row.runs[run], `${label}: ${samples.texts[place]}`, labelSize),
    el(
      "figcaption",
      {},
      el("span", { class: `name r${run % 6}` }, label),
      WORDS[verdict] ? el("span", { class: `verdict ${verdict}` }, ` ${WORDS[verdict]}`) : null,
      why ? el("span", { class: "why" }, why) : null,
    ),
  );
}

function givenFigure(row, labelSize) {
  if (!row.given) return null;
  const text = row.given.text ?? "";
  return el(
    "figure",
    {},
    stage(row.given, `${meta.given}: ${text}`, labelSize),
    el("figcaption", {}, el("span", { class: "name soft" }, meta.given), text ? el("span", { class: "why" }, text) : null),
  );
}

function figures(place, row, labelSize, judge) {
  return [givenFigure(row, labelSize), ...meta.runs.map((_, run) => runFigure(place, row, run, labelSize, judge))];
}

function card(place, row, judge) {
  const tag = meta.tags[samples.tags[place]];
  const count = meta.runs.length + (row.given ? 1 : 0);
  return el(
    "li",
    { class: "item", "data-place": place },
    el(
      "div",
      {},
      el("button", { type: "button", class: "prompt", "data-open": place, "aria-haspopup": "dialog" }, samples.texts[place]),
      el(
        "p",
        { class: "small soft" },
        `${samples.ids[place]}${tag.name ? ` · ${tag.label}` : ""}`,
        disagree(place, judge) ? el("span", { class: "badge" }, "disagree") : null,
      ),
    ),
    el("div", { class: `figures n${Math.min(count, 4)}` }, ...figures(place, row, 68, judge)),
  );
}
