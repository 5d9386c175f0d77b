// Paging, keys, and what happens when something is clicked.

const gallery = byId("gallery");
const pagers = [...document.querySelectorAll(".pager")];
let places = [];
let page = 1;
let drawn = 0; // counts drawings: a slow one that was overtaken is dropped

function pageCount() {
  return Math.max(1, Math.ceil(places.length / Number(settings().size)));
}

function status() {
  const shown = places.length === samples.ids.length ? "" : ` of ${samples.ids.length}`;
  const size = Number(settings().size);
  const range = places.length ? `, ${(page - 1) * size + 1} to ${Math.min(page * size, places.length)} here` : "";
  byId("status").textContent = places.length
    ? `${places.length}${shown} samples${range}`
    : "Nothing is like that: change the filters, or show all.";
}

async function draw() {
  const mine = ++drawn;
  page = Math.min(Math.max(1, page), pageCount());
  const asked = settings();
  const size = Number(asked.size);
  const here = places.slice((page - 1) * size, page * size);
  for (const pager of pagers) {
    pager.hidden = pageCount() === 1;
    pager.querySelector("input").value = page;
    pager.querySelector("input").max = pageCount();
    pager.querySelector(".count").textContent = pageCount();
    pager.querySelector('[data-step="-1"]').disabled = page === 1;
    pager.querySelector('[data-step="1"]').disabled = page === pageCount();
  }
  status();
  remember(asked, page);
  const rows = await Promise.all(here.map(rowOf));
  if (mine !== drawn) return;
  const figures = meta.runs.length + (rows[0]?.given ? 1 : 0);
  gallery.classList.toggle("broad", figures > 2);
  gallery.classList.toggle("slim", figures === 1);
  gallery.classList.toggle("with-boxes", Boolean(asked.boxes));
  gallery.classList.toggle("with-mask", Boolean(asked.mask));
  gallery.replaceChildren(...here.map((place, i) => card(place, rows[i], asked.judge)));
  gallery.dataset.drawn = mine;
}

function refilter() {
  places = matching(settings());
  page = 1;
  return draw().catch(failed);
}

function turn(step) {
  const target = page + step;
  if (!step || target < 1 || target > pageCount()) return;
  page = target;
  draw().catch(failed);
  byId("pictures").scrollIntoView();
}

async function turnDialog(step) {
  const at = places.indexOf(Number(dialog.dataset.place)) + step;
  if (at < 0 || at >= places.length) return;
  const there = Math.floor(at / Number(settings().size)) + 1;
  if (there !== page) {
    page = there;
    await draw();
  }
  await showDialog(places[at]);
}

function failed(error) {
  byId("status").textContent = `The page is not whole (${error.message}): write it again with agsm-bench view.`;
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (typing) return;
  const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
  if (step && !event.target.closest(".scroll")) {
    event.preventDefault();
    if (dialog.open) turnDialog(step).catch(failed);
    else turn(step);
  } else if (event.key === "/" && !dialog.open) {
    event.preventDefault();
    byId("filters-box").open = true;
    form.elements.text.focus();
  } else if (event.key === "b") {
    const box = dialog.open ? dialog.querySelector("[data-shows=boxes]") : form.elements.boxes;
    box?.click();
  }
}

function listen() {
  let timer;
  form.addEventListener("input", (event) => {
    if (!event.target.matches("[type=search], [type=number]")) return;
    clearTimeout(timer);
    timer = setTimeout(refilter, 200);
  });
  form.addEventListener("change", (event) => {
    if (["boxes", "mask"].includes(event.target.name)) {
      gallery.classList.toggle(`with-${event.target.name}`, event.target.checked);
      remember(settings(), page);
    } else if (event.target.matches("select, [type=checkbox]")) refilter();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    refilter();
  });
  form.addEventListener("reset", () => setTimeout(refilter));
  for (const pager of pagers) {
    pager.addEventListener("click", (event) => turn(Number(event.target.dataset.step ?? 0)));
    pager.addEventListener("change", (event) => {
      turn((Number.parseInt(event.target.value, 10) || page) - page);
      event.target.value = page;
    });
  }
  gallery.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]") ?? event.target.closest(".figures")?.parentElement.querySelector("[data-open]");
    if (opener) showDialog(Number(opener.dataset.open)).catch(failed);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.id === "close") dialog.close();
    else if (event.target.dataset.step) turnDialog(Number(event.target.dataset.step)).catch(failed);
  });
  dialog.addEventListener("close", () => {
    gallery.querySelector(`[data-open="${dialog.dataset.place}"]`)?.focus();
  });
  dialog.addEventListener("change", (event) => {
    dialog.classList.toggle(`with-${event.target.dataset.shows}`, event.target.checked);
  });
  dialog.classList.add("with-boxes");
  document.addEventListener("keydown", pressed);
}

async function start() {
  byId("status").textContent = "Loading…";
  await loadIndex();
  const wanted = recall();
  places = matching(settings());
  page = wanted;
  listen();
  byId("filters-box").open = !matchMedia("(max-width:34rem)").matches;
  await draw();
}

start().catch(failed);
