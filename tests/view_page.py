"""A page of `agsm-bench view` in Debian's chromium, as a person would use it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
PATIENCE = 20
"""Seconds: machines of CI are busy."""


@contextmanager
def browser() -> Iterator[Any]:
    """A headless browser with a driver; skips where there is none."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium with its driver here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    os.environ |= {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # root has no sandbox, nor have containers without user namespaces; the pages are our own
    for flag in ("--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--no-sandbox"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """One tab."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, view: Path | str, fragment: str = "", *, width: int = 1280, dark: bool = False) -> None:
        """A folder from disk, or an address; waits until its pictures are there."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")
        address = view if isinstance(view, str) else (view / "index.html").as_uri()
        self.driver.get(address + fragment)
        self.wait("return Boolean(document.querySelector('#gallery').dataset.drawn)")

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, PATIENCE, 0.02).until(lambda _: self.js(condition))

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def drawn(self, action: Any) -> None:
        """Does something, and waits until the gallery is drawn anew."""
        before = self.js("return document.querySelector('#gallery').dataset.drawn")
        action()
        self.wait(f"return document.querySelector('#gallery').dataset.drawn !== '{before}'")

    def choose(self, name: str, value: str) -> None:
        from selenium.webdriver.support.select import Select

        self.drawn(lambda: Select(self.find(f"#filters [name={name}]")).select_by_value(value))

    def type(self, name: str, text: str) -> None:
        self.drawn(lambda: self.find(f"#filters [name={name}]").send_keys(text))

    def reset(self) -> None:
        self.drawn(lambda: self.find("#filters [type=reset]").click())

    def press(self, *keys: str) -> None:
        """Keys to what has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    @property
    def ids(self) -> list[str]:
        """Of the samples on show."""
        return self.js(
            "return [...document.querySelectorAll('#gallery .item p')].map(p => p.firstChild.data.split(' · ')[0])"
        )

    @property
    def total(self) -> int:
        """Of the samples that pass the filters."""
        words = self.find("#status").text.split()
        return int(words[0]) if words[0].isdigit() else 0

    @property
    def dialog(self) -> str | None:
        """The open dialog's prompt and id."""
        return self.js("const d = document.querySelector('#dialog'); return d.open ? d.innerText : null")

    def complaints(self) -> list[str]:
        """What the browser's console has, and forgets now."""
        return [entry["message"] for entry in self.driver.get_log("browser")]
