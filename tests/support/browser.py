"""Chromium without a screen, driven by what it is told over HTTP (WebDriver), for tests of the status page.

Source: W3C WebDriver; chromedriver's command for the DevTools protocol, which sets the size and the colours.
"""

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import requests

from certbotless.sandbox.process import free_port
from support.bed import wait_until

Scheme = Literal["light", "dark"]
_CHROMIUM, _DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
_PATIENCE_S = 60
FLAGS = (
    "--headless",
    "--no-sandbox",  # which needs namespaces of its own, and the page is ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
# What a person sees of text: what is drawn, in which colour, on which ground, and how large.
_TEXTS = """
const parse = (text) => {
  const found = text.match(/[\\d.]+/g).map(Number);
  return found.length === 4 ? found : [...found, 1];
};
const over = (front, back) => front.slice(0, 3).map((part, i) => part * front[3] + back[i] * (1 - front[3]));
const ground = (element) => {
  if (element === null) return [255, 255, 255];
  return over(parse(getComputedStyle(element).backgroundColor), ground(element.parentElement));
};
const light = (colour) => {
  const [r, g, b] = colour.map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
  if (!text) continue;
  const back = ground(element), front = over(parse(getComputedStyle(element).color), back);
  const [dark, bright] = [light(front), light(back)].sort((a, b) => a - b);
  found.push([text, (bright + 0.05) / (dark + 0.05)]);
}
return found;
"""


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def command(self, method: str, path: str, **parameters: Any) -> Any:
        """Send a command of WebDriver, and return its value."""
        reply = requests.request(
            method,
            f"{self._session}/{path}",
            json=parameters if method == "POST" else None,
            timeout=_PATIENCE_S,
        )
        value = reply.json()["value"]
        assert reply.ok, value
        return value

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self.command("POST", "goog/cdp/execute", cmd=command, params=parameters)

    def open(self, url: str, width: int, scheme: Scheme = "light", height: int = 900) -> None:
        """Open a page in a window of this width, for somebody who likes it light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)
        self.command("POST", "url", url=url)

    def run(self, script: str) -> Any:
        """Run a script in the page, whatever the page itself may run, and return its value."""
        return self.command("POST", "execute/sync", script=script, args=[])

    def contrasts(self) -> list[tuple[str, float]]:
        """Return each text of the page with its contrast (WCAG 2.2, "contrast ratio")."""
        return [(text, ratio) for text, ratio in self.run(_TEXTS)]

    def screenshot(self) -> bytes:
        """Return a picture of the whole page, PNG."""
        taken = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """Run Chromium for as long as the block runs; what it keeps is kept below `home`."""
    profile = home / "chromium"
    profile.mkdir()
    port = free_port()
    driver = subprocess.Popen(
        [_DRIVER, f"--port={port}", f"--log-path={home / 'chromedriver.log'}"], stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_ready(url), "chromedriver answers")
        options = {"binary": _CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        asked = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        value = requests.post(f"{url}/session", json=asked, timeout=_PATIENCE_S).json()["value"]
        assert "sessionId" in value, value
        session = f"{url}/session/{value['sessionId']}"
        try:
            yield Browser(session)
        finally:
            requests.delete(session, timeout=_PATIENCE_S)
    finally:
        driver.terminate()
        driver.wait(_PATIENCE_S)


def _is_ready(url: str) -> bool:
    try:
        return bool(requests.get(f"{url}/status", timeout=_PATIENCE_S).json()["value"]["ready"])
    except requests.ConnectionError:
        return False
