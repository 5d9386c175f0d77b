// Which samples are shown, and in which order.

const form = byId("filters");
const DEFAULTS = { size: "24", judge: "0", metric: "0" };

function settings() {
  const found = Object.fromEntries(new FormData(form));
  return { text: "", tag: "", verdict: "", which: "", low: "", high: "", order: "", ...DEFAULTS, ...found };
}

function verdictOf(run, place, judge) {
  if (!meta.verdicts.length) {
    return samples.values[run].some((column) => Number.isNaN(column[place])) ? "unscored" : "scored";
  }
  const value = samples.values[run][meta.verdicts[judge]][place];
  if (Number.isNaN(value)) return "unscored";
  return value > 0.5 ? "correct" : "wrong";
}

function disagree(place, judge) {
  const found = new Set(meta.runs.map((_, run) => verdictOf(run, place, judge)));
  return found.has("correct") && found.has("wrong");
}

// A test of one run, of any of them or of every one, as the form asks.
function among(which, test) {
  const runs = meta.runs.map((_, run) => run);
  if (which === "") return (place) => runs.some((run) => test(run, place));
  if (which === "all") return (place) => runs.every((run) => test(run, place));
  return (place) => test(Number(which), place);
}

function tests(asked) {
  const found = [];
  const words = asked.text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) {
    found.push((place) => words.every((word) => samples.lower[place].includes(word) || samples.ids[place] === word));
  }
  if (asked.tag !== "") found.push((place) => samples.tags[place] === Number(asked.tag));
  if (asked.verdict) {
    found.push(among(asked.which, (run, place) => verdictOf(run, place, asked.judge) === asked.verdict));
  }
  if (asked.low !== "" || asked.high !== "") {
    const low = asked.low === "" ? -Infinity : Number(asked.low);
    const high = asked.high === "" ? Infinity : Number(asked.high);
    const inside = (run, place) => {
      const value = samples.values[run][asked.metric][place];
      return value >= low && value <= high;
    };
    found.push(among(asked.which, inside));
  }
  if (asked.disagree) found.push((place) => disagree(place, asked.judge));
  return found;
}

// A number to sort by, small first; NaN goes last.
function rank(asked) {
  const chosen = /^\d+$/.test(asked.which) ? [Number(asked.which)] : meta.runs.map((_, run) => run);
  const of = (place, runs) => runs.map((run) => samples.values[run][asked.metric][place]).filter((v) => !Number.isNaN(v));
  const first = (values, pick) => (values.length ? pick(...values) : NaN);
  if (asked.order === "low") return (place) => first(of(place, chosen), Math.min);
  if (asked.order === "high") return (place) => -first(of(place, chosen), Math.max);
  const all = meta.runs.map((_, run) => run);
  return (place) => first(of(place, all), Math.min) - first(of(place, all), Math.max);
}

function matching(asked) {
  const all = tests(asked);
  const places = [];
  for (let place = 0; place < samples.ids.length; place++) {
    if (all.every((test) => test(place))) places.push(place);
  }
  if (!asked.order || !meta.metrics.length) return places;
  const key = rank(asked);
  const ranked = places.map((place) => [key(place), place]);
  const last = (value) => (Number.isNaN(value) ? Infinity : value);
  ranked.sort((a, b) => (last(a[0]) === last(b[0]) ? a[1] - b[1] : last(a[0]) - last(b[0])));
  return ranked.map(([, place]) => place);
}

// The address remembers the filters, so that a view can be sent to somebody.
function remember(asked, page) {
  const kept = Object.entries({ ...asked, page: String(page) }).filter(
    ([name, value]) => value !== "" && value !== (DEFAULTS[name] ?? (name === "page" ? "1" : "")),
  );
  const words = new URLSearchParams(kept).toString();
  const address = words ? `#${words}` : "#pictures";
  if (words || location.hash.includes("=")) history.replaceState(null, "", address);
}

function recall() {
  if (!location.hash.includes("=")) return 1;
  const words = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of words) {
    const field = form.elements.namedItem(name);
    if (!(field instanceof HTMLElement) || field.type === "reset") continue;
    if (field.type === "checkbox") field.checked = value === "on";
    else if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
  }
  return Number.parseInt(words.get("page"), 10) || 1;
}
