// The data files are scripts with one call each: agsmView(kind, number, data). A page read from disk may load nothing else.

const KEPT = 64; // files of rows kept in memory
const meta = JSON.parse(byId("meta").textContent);
const waiting = new Map(); // "kind-number" -> resolve
const rowFiles = new Map(); // number -> promise, the latest used last
const samples = { ids: [], texts: [], lower: [], tags: [], values: meta.runs.map(() => meta.metrics.map(() => [])) };

window.agsmView = (kind, number, data) => {
  waiting.get(`${kind}-${number}`)?.(data);
};

function load(kind, number) {
  return new Promise((resolve, reject) => {
    const name = `${kind}-${number}`;
    const script = el("script", { src: `data/${name}.js` });
    waiting.set(name, resolve);
    script.onload = () => {
      script.remove();
      waiting.delete(name);
    };
    script.onerror = () => reject(new Error(`data/${name}.js is missing`));
    document.head.append(script);
  });
}

async function loadIndex() {
  const numbers = Array.from({ length: meta.indexFiles }, (_, number) => number);
  for (const part of await Promise.all(numbers.map((number) => load("index", number)))) {
    const lower = part.texts.map((text) => text.toLowerCase());
    part.ids.forEach((id, i) => {
      samples.ids.push(id);
      samples.texts.push(part.texts[part.text[i]]);
      samples.lower.push(lower[part.text[i]]);
      samples.tags.push(part.tag[i]);
    });
    part.values.forEach((columns, run) =>
      columns.forEach((column, metric) => {
        const whole = samples.values[run][metric];
        for (const value of column) whole.push(value ?? NaN);
      }),
    );
  }
}

// Pictures, detections and reasons of the sample at a place of the index.
async function rowOf(place) {
  const number = Math.floor(place / meta.rowsPerFile);
  const file = rowFiles.get(number) ?? load("rows", number);
  rowFiles.delete(number);
  rowFiles.set(number, file);
  if (rowFiles.size > KEPT) rowFiles.delete(rowFiles.keys().next().value);
  return (await file)[place % meta.rowsPerFile];
}
