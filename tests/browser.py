"""Helpers for the ``-m browser`` tests: a page in headless Chromium, controlled by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe"
KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Escape": 27,
    "Home": 36,
    "End": 35,
    "Tab": 9,
}


class Page:
    """A tab of the browser; ``problems`` lists the errors and warnings of its console."""

    def __init__(self, out: int, into: int) -> None:
        self._out, self._into = os.fdopen(out, "wb"), os.fdopen(into, "rb")
        self._count, self._session = 0, None
        self.problems: list[str] = []
        self._seen: set[str] = set()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            said = self._read()
            if said.get("id") == self._count:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']['message']}")
                result: dict[str, Any] = said["result"]
                return result

    def open(self, path: Path) -> None:
        """Load a file and wait until it is loaded."""
        self._seen.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self._seen:
            self._read()

    def wait(self, condition: str) -> None:
        """Wait until an expression is true, for at most 10 seconds."""
        again = f"({condition}) ? done() : left-- ? setTimeout(again, 20) : fail(new Error('the condition is false'))"
        self.run(f"new Promise((done, fail) => {{ let left = 500; const again = () => {again}; again(); }})")

    def run(self, script: str) -> Any:
        """Return the value of an expression; if it is a promise, await it."""
        said = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in said:
            raise RuntimeError(said["exceptionDetails"]["exception"].get("description", script))
        return said["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def move(self, selector: str, *, click: bool = False) -> None:
        """Move the mouse to the middle of an element."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        place = self.run(f"(box => ({{x: box.x + box.width / 2, y: box.y + box.height / 2}}))({box})")
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", **place)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.ask("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window, and the preference for light or dark pages."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Save a picture of the visible part of the page."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def _read(self) -> dict[str, Any]:
        letters = bytearray()
        while (letter := self._into.read(1)) != b"\0":
            if not letter:
                raise RuntimeError("Chromium has ended")
            letters += letter
        said: dict[str, Any] = json.loads(letters)
        about, method = said.get("params", {}), said.get("method", "")
        self._seen.add(method)
        if method == "Runtime.exceptionThrown":
            self.problems.append(about["exceptionDetails"]["exception"].get("description", "an exception"))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(given.get("value")) for given in about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.problems.append(about["entry"]["text"])
        return said


@contextmanager
def chromium() -> Iterator[Page]:
    """Start a browser and yield a page of it; stop the browser at the end."""
    theirs, ours = os.pipe()
    mine, said = os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:  # processes that are ending may still write there
        command = f'exec "{CHROMIUM}" {FLAGS} --user-data-dir="{home}" 3<&{theirs} 4>&{said}'
        process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(theirs, said), stderr=subprocess.DEVNULL, start_new_session=True
        )
        os.close(theirs)
        os.close(said)
        try:
            yield Page(ours, mine)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
