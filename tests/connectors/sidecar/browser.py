"""A real browser for tests: Debian's chromium without a screen, and what it saw."""

import base64
import json
import os
import shutil
import time
from contextlib import contextmanager

import pytest

_WAIT_S = 30.0
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
)
_FAINT = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => channels(colour).slice(0, 3)
    .map((each) => each / 255)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
const ground = (element) => {
    for (; element; element = element.parentElement) {
        const colour = getComputedStyle(element).backgroundColor;
        if ((channels(colour)[3] ?? 1) === 1) return colour;
    }
    return "rgb(255, 255, 255)";
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!says || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const text = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [a, b] = [light(text), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < arguments[0]) found.push(`${contrast.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
}
return found;
"""


@contextmanager
def chromium():
    """A browser. Skips where there is none, or fails if the environment demands one."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "there is no chromium: apt-get install chromium chromium-driver"
        if os.environ.get("KVSTORE_REQUIRE_REAL_MODEL"):
            pytest.fail(reason)
        pytest.skip(reason)
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield Browser(found)
    finally:
        found.quit()


class Browser:
    """One window."""

    def __init__(self, driver):
        self.driver = driver
        self.looks(1600)

    def opens(self, url):
        """Anew, though it be open already, with nothing remembered of what was seen."""
        self.driver.get("about:blank")
        self.requests(), self.console()
        self.driver.get(url)

    def looks(self, width, scheme="light", motion="no-preference"):
        """How wide the window is, and what its user prefers."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        preferred = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        features = [{"name": name, "value": value} for name, value in preferred.items()]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        """As people see it."""
        return self.find(selector).text

    def press(self, selector):
        self.find(selector).click()

    def type(self, selector, text):
        field = self.find(selector)
        field.clear()
        field.send_keys(text + "\n")

    def until(self, holds, wait_s=_WAIT_S):
        """Waits until `holds()` is true of the page, which may change meanwhile. What it said last is returned."""
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

        ends_s, last = time.monotonic() + wait_s, None
        while time.monotonic() < ends_s:
            try:
                if last := holds():
                    return last
            except (NoSuchElementException, StaleElementReferenceException) as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"it did not come true in {wait_s} s: {last!r}; the page says:\n{self.text('body')}")

    def until_says(self, selector, *parts):
        self.until(lambda: all(part in self.text(selector) for part in parts))

    def requests(self):
        """The addresses asked for since the last time."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        sent = (each["params"] for each in messages if each["method"] == "Network.requestWillBeSent")
        return [each["request"]["url"] for each in sent]

    def console(self):
        """What the page complained of since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def faint(self, least):
        """Texts whose contrast is less."""
        return self.run(_FAINT, least)

    def overflow(self):
        """By how many pixels the page is wider than its window."""
        return self.run("return document.documentElement.scrollWidth - innerWidth")

    def photograph(self, path):
        """The whole page, as PNG."""
        width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(taken["data"]))
