"""The pages of `agsm-bench view` in a real browser: Debian's chromium, headless."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from view_page import Page, browser
from view_runs import EVIL, ODD, make_edits, make_kept, make_odd_run

from agsm_bench.evaluate import evaluate
from agsm_bench.report.files import results_dir
from agsm_bench.report.view.build import write_view
from agsm_bench.report.view.serve import address_of, server_of
from agsm_bench.request import EvaluationOptions, Request
from agsm_bench.store import Run

CORRECT, STRICT, CLIP = "geneval/correct", "geneval/strict", "shapes_clip/score"
METRIC = "4"
"""The place of shapes-clip among the metrics."""
Values = list[dict[str, dict[str, float | None]]]
COLORS = """
    const shown = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    const light = (color) => { const [r, g, b] = shown(color); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const behind = (node) => {
      const clear = (each) => getComputedStyle(each).backgroundColor === "rgba(0, 0, 0, 0)";
      while (node && clear(node)) node = node.parentElement;
      return getComputedStyle(node ?? document.body).backgroundColor;
    };
    return [...document.querySelectorAll("main *, header *")].filter((node) =>
      [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) &&
      !node.closest("svg, :disabled, option, noscript") && node.checkVisibility(),
    ).map((node) => {
      const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), node.tagName + "." + node.className];
    }).filter(([contrast]) => contrast < 4.5);
"""  # WCAG 2.1, contrast ratio


pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def runs(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Really generated: the same prompts and noise without and with soft tokens."""
    root = tmp_path_factory.mktemp("runs")
    options = EvaluationOptions(limit=20, images_per_prompt=1, steps=4)
    tokens = results_dir() / "runs" / "agsm-shapes-unet-0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["agsm-bench", "eval", "geneval", "--tokens", str(tokens)])
        for name, own in (("base", None), ("agsm", tokens)):
            evaluate(Request("geneval", "shapes-unet", root / name, own, options), lambda *_: None)
    return [root / "base", root / "agsm"]


@pytest.fixture(scope="module")
def values(runs: list[Path]) -> Values:
    """What the runs have scored; one sample is made unscored, and two are made to disagree."""
    from agsm_bench.types import Score

    with Run.reopen(runs[1], {"command": "agsm-bench score"}) as run:
        ids = sorted(run.scores())
        turned = [Score(key, CORRECT, 1 - (run.scores()[key][CORRECT].value or 0), "turned") for key in ids[3:5]]
        run.add_scores([Score(ids[0], CORRECT, None, "no detector"), *turned])
    opened = [Run.open(run).scores() for run in runs]
    return [{key: {name: score.value for name, score in row.items()} for key, row in each.items()} for each in opened]


@pytest.fixture(scope="module")
def view(runs: list[Path], values: Values, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("view"), *runs)


@pytest.fixture
def page(driver: Any) -> Iterator[Page]:
    found = Page(driver)
    yield found
    assert found.complaints() == []


def built(out: Path, *runs: Path) -> Path:
    write_view(runs, out, lambda *_: None)
    return out


def where(values: Values, test: Callable[..., bool]) -> list[str]:
    """The samples whose rows of all runs pass a test."""
    return [key for key in sorted(values[0]) if test(*(each[key] for each in values))]


def test_it_opens_from_disk_and_shows_every_sample(page: Page, view: Path, values: Values) -> None:
    page.open(view)
    assert page.ids == sorted(values[0])
    assert page.total == 20
    page.js("document.querySelector('#gallery').scrollIntoView()")
    page.wait("return document.querySelector('#gallery img').naturalWidth > 0")
    shown = page.js("const i = document.querySelector('#gallery img'); return [i.naturalWidth, i.clientWidth]")
    assert shown[0] == 24
    assert shown[1] > 100
    assert page.js("return getComputedStyle(document.querySelector('#gallery img')).imageRendering") == "pixelated"
    assert "LIMITED RUN" in page.find("header").text
    assert page.js("return document.querySelectorAll('.panels polyline').length") == 4


def test_filters_show_what_the_scores_say(page: Page, view: Path, values: Values) -> None:
    page.open(view)
    page.choose("verdict", "correct")
    assert page.ids == where(values, lambda a, b: 1 in (a[CORRECT], b[CORRECT]))
    page.choose("which", "all")
    assert page.ids == where(values, lambda a, b: a[CORRECT] == b[CORRECT] == 1)
    page.choose("which", "1")
    assert page.ids == where(values, lambda a, b: b[CORRECT] == 1)
    page.choose("verdict", "unscored")
    assert page.ids == where(values, lambda a, b: b[CORRECT] is None) != []
    page.choose("verdict", "wrong")
    page.choose("judge", "1")
    assert page.ids == where(values, lambda a, b: b[STRICT] == 0)
    page.reset()
    assert page.total == 20
    page.drawn(lambda: page.find("#filters [name=disagree]").click())
    assert page.ids == where(values, lambda a, b: {a[CORRECT], b[CORRECT]} == {0, 1}) != []


def test_metric_ranges_orders_tasks_and_words(page: Page, view: Path, values: Values) -> None:
    page.open(view)
    page.choose("metric", METRIC)
    page.type("low", "0.5")
    page.type("high", "0.7")
    inside = where(values, lambda *rows: any(0.5 <= row[CLIP] <= 0.7 for row in rows))
    assert page.ids == inside
    assert 0 < len(inside) < 20
    page.reset()
    page.choose("metric", METRIC)
    page.choose("order", "apart")
    gaps = {key: abs(values[0][key][CLIP] - values[1][key][CLIP]) for key in values[0]}  # type: ignore[operator]
    assert page.ids[0] == max(gaps, key=lambda key: gaps[key])
    page.choose("which", "0")
    page.choose("order", "low")
    assert page.ids[0] == min(values[0], key=lambda key: values[0][key][CLIP] or 0)
    page.reset()
    page.choose("tag", "2")
    assert 0 < page.total < 20
    page.reset()
    word = page.js("return document.querySelectorAll('.prompt')[9].textContent.split(' ').at(-1)")
    page.type("text", word.upper())
    assert 0 < page.total < 20
    texts = page.js("return [...document.querySelectorAll('.prompt')].map(p => p.textContent)")
    assert all(word in text for text in texts)
    page.type("text", " nothing like it")
    assert page.ids == []
    assert "change the filters" in page.find("#status").text


def test_paging_by_buttons_keys_and_number_is_kept_in_the_address(page: Page, view: Path, values: Values) -> None:
    page.open(view)
    page.choose("size", "12")
    every = sorted(values[0])
    assert page.ids == every[:12]
    page.drawn(lambda: page.find(".pager [data-step='1']").click())
    assert page.ids == every[12:]
    page.js("document.activeElement.blur()")
    for key, expected in (("k", every[:12]), ("j", every[12:]), ("\ue012", every[:12]), ("\ue014", every[12:])):
        page.drawn(partial(page.press, key))
        assert page.ids == expected
    page.open(page.driver.current_url.partition("#")[0], "#size=12&page=2")
    assert page.ids == every[12:]
    assert page.find(".pager [data-step='1']").get_attribute("disabled")
    box = page.find(".pager input")
    page.drawn(lambda: box.send_keys("\ue009a\ue000", "1\n"))
    assert page.ids == every[:12]


def test_it_works_without_a_mouse(page: Page, view: Path, values: Values) -> None:
    page.open(view, "#size=12")
    every = sorted(values[0])
    page.press("/")
    assert page.js("return document.activeElement.name") == "text"
    page.press("j")
    page.wait("return document.querySelector('#status').textContent.length > 0")
    assert page.js("return document.activeElement.value") == "j"
    page.drawn(lambda: page.press("\ue003"))
    page.js("document.querySelector('.prompt').focus()")
    page.press("\ue004")
    assert page.js("return document.activeElement.className") == "prompt"
    assert page.js("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("\ue007")
    page.wait("return document.querySelector('#dialog').open")
    assert every[1] in (page.dialog or "")
    page.press("\ue014")
    page.wait(f"return document.querySelector('#dialog').innerText.includes('{every[2]}')")
    page.press("\ue00c")
    assert page.dialog is None
    page.wait("return document.activeElement.dataset.open === '2'")
    for seen in (True, False):
        page.press("b")
        assert page.js("return document.querySelector('#gallery .boxes').checkVisibility()") is seen


def test_boxes_lie_on_what_was_detected(page: Page, view: Path, runs: list[Path]) -> None:
    from agsm_bench.detections import read_detections

    page.open(view, "#boxes=on")
    [first, *_] = read_detections(runs[0])
    found = page.js(
        "return ['x', 'y', 'width'].map(n => Number(document.querySelector('#gallery .box').getAttribute(n)))"
    )
    x0, y0, x1, _ = first.detections[0].box
    assert found == pytest.approx([side * 1000 / 24 for side in (x0, y0, x1 - x0)], abs=1)
    label = page.js("return document.querySelector('#gallery .boxes text').textContent")
    assert label == f"{first.detections[0].color} {first.detections[0].label} {first.detections[0].score:.2f}"


def test_reasons_are_said(page: Page, view: Path) -> None:
    page.open(view, "#disagree=on")
    assert "turned" in page.find("#gallery").text
    page.open(view, "#verdict=unscored")
    assert "no detector" in page.find("#gallery").text


def test_a_prompt_that_is_a_script_does_nothing(page: Page, tmp_path: Path) -> None:
    runs = make_odd_run(tmp_path / "a #b?%41 'c'"), make_odd_run(tmp_path / "other", label=EVIL)
    page.open(built(tmp_path / "o#u?t", *runs).resolve())
    assert page.driver.title.startswith("geneval")
    assert EVIL in page.js("return [...document.querySelectorAll('.prompt')].map(p => p.textContent)")
    page.find(".prompt").click()
    page.wait("return document.querySelector('#dialog').open")
    page.find("#close").click()
    place = page.ids.index(f"{ODD}/0000")
    page.driver.find_elements("css selector", ".prompt")[place].click()
    page.wait("return document.querySelector('#dialog').open")
    assert EVIL in (page.dialog or "")
    assert page.js("return document.querySelectorAll('script').length") == 2
    assert page.driver.title.startswith("geneval")
    page.js("const i = new Image(); window.loaded = i; i.src = document.querySelector('.original').href")
    page.wait("return window.loaded.naturalWidth === 24")


@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_need_not_scroll_sideways(page: Page, view: Path, width: int) -> None:
    page.open(view, width=width)
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert not page.js("return document.querySelector('#filters-box').open")
    page.find("#filters-box summary").click()
    assert page.js("return document.documentElement.scrollWidth") <= width
    page.find(".prompt").click()
    page.wait("return document.querySelector('#dialog').open")
    assert page.js("const d = document.querySelector('#dialog'); return d.scrollWidth <= d.clientWidth")


def test_both_colour_schemes_can_be_read(page: Page, view: Path) -> None:
    grounds = []
    for dark in (False, True):
        page.open(view, "#disagree=on", dark=dark)
        assert page.js(COLORS) == []
        grounds.append(page.js("return getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_it_prints_without_its_controls(page: Page, view: Path) -> None:
    page.open(view)
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = page.js("return ['.filters', '.pager', '.keys'].map(s => document.querySelector(s).checkVisibility())")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert hidden == [False, False, False]


def test_edits_show_source_and_mask(page: Page, tmp_path: Path) -> None:
    page.open(built(tmp_path / "out", make_edits(tmp_path / "run")), "#mask=on")
    assert page.js("return document.querySelector('#gallery .name').textContent") == "source"
    assert page.js("return document.querySelector('#gallery .mask').checkVisibility()")


def test_twenty_thousand_samples_are_a_page_of_rows(page: Page, tmp_path: Path) -> None:
    page.open(
        built(tmp_path / "out", *(make_kept(tmp_path / name, 37, share) for name, share in (("a", 0.7), ("b", 0.8))))
    )
    assert page.total == 553 * 37
    assert len(page.ids) == 24
    page.drawn(lambda: page.find("#filters [name=disagree]").click())
    draws = [Run.open(tmp_path / name) for name in ("a", "b")]
    from agsm_bench.report.evidence import sample_values

    both = [sample_values(run.folder) for run in draws]
    assert page.total == sum(both[0][key][CORRECT] != both[1][key][CORRECT] for key in both[0])
    assert len(page.ids) == 24
    page.drawn(lambda: page.press("j"))
    assert page.js("return document.querySelectorAll('*').length") < 3000


def test_it_is_the_same_over_http(page: Page, view: Path, values: Values) -> None:
    with server_of(view, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.open(address_of(server))
        assert page.ids == sorted(values[0])
        page.find(".prompt").click()
        page.wait("return document.querySelector('#dialog').open")
        assert page.js("return document.querySelectorAll('.original').length") == 0, "the server has no run folders"
        page.driver.get("about:blank")
        server.shutdown()
