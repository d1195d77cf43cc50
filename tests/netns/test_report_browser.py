# SPDX-License-Identifier: GPL-3.0-or-later
"""The report in a real browser: no error, no request, readable on a phone, answers a click."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.action.report import TEMPLATES
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.data import report_data
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.html import report_html
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import role_file
from observed import Observed, fabric_of, healthy

CHROMIUM = shutil.which("chromium") or "chromium"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # What the page logs goes to stderr; nothing but this machine resolves.
    *(
        "--enable-logging=stderr",
        "--v=0",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ),
    *("--virtual-time-budget=4000", "--hide-scrollbars"),
]
# The page under test in a frame of a phone's width. The frame reports what it sees into its
# parent's title, from where --dump-dom brings it here.
FRAME = """<!DOCTYPE html><title>waiting</title>
<iframe src="report.html" style="width:%(width)spx;height:2000px;border:0"></iframe>
<script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  const found = {wide: page.documentElement.scrollWidth, scripts: page.scripts.length};
  const cell = page.querySelector("td.failure") || page.querySelector(".matrix td");
  cell.click();
  found.clicked = page.querySelector(".panel").textContent;
  cell.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  found.moved = page.querySelector(".panel h3").textContent;
  found.shown = getComputedStyle(page.querySelector(".topology.narrow")).display;
  found.headline = page.querySelector("h1").textContent;
  document.body.innerHTML = "<pre id=found></pre>";
  document.querySelector("#found").textContent = JSON.stringify(found);
});
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves one folder and remembers what was asked for."""

    asked: list[str] = []

    def log_message(self, *_arguments: object) -> None:
        Quiet.asked.append(self.path)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Quiet.asked.clear()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def write(folder: Path, observed: Observed, title: str = "Pod network") -> None:
    data = report_data(json.loads(json.dumps(observed.saved())), title, "podnet.fabric")
    templates = {name: role_file("report", "templates", name) for name in TEMPLATES}
    (folder / "report.html").write_text(report_html(data, templates), encoding="utf-8")


def browse(url: str, folder: Path, *arguments: str) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what the page logged."""
    profile = folder / "profile"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    shutil.rmtree(profile, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-2000:]
    logged = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout, logged


def framed(served: tuple[Path, str], width: int) -> tuple[dict[str, str | int], list[str]]:
    folder, base = served
    (folder / "frame.html").write_text(FRAME % {"width": width}, encoding="utf-8")
    document, logged = browse(f"{base}/frame.html", folder, "--dump-dom")
    found = re.search(r'<pre id="found">(.*?)</pre>', document, re.DOTALL)
    assert found, document[-2000:] + "\n".join(logged)
    text = found.group(1).replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    parsed: dict[str, str | int] = json.loads(text)
    return parsed, logged


def broken(sizes: tuple[int, ...]) -> Observed:
    return healthy(fabric_of(sizes)).cut("node-01", "node-03")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("sizes", [(3,), (3, 2), (10,) * 5])
def test_page_works_without_errors_and_requests(
    served: tuple[Path, str], sizes: tuple[int, ...], width: int
) -> None:
    write(served[0], broken(sizes))
    found, logged = framed(served, width)
    assert not logged
    assert set(Quiet.asked) <= {"/frame.html", "/report.html", "/favicon.ico"}
    assert "/report.html" in Quiet.asked
    assert found["wide"] == width, "the page must not scroll sideways"
    assert found["shown"] == ("block" if width < 760 else "none")
    assert "node-01 → node-03" in str(found["clicked"])
    assert "expected" in str(found["clicked"])
    assert str(found["moved"]) != "node-01 → node-03"


def test_hostile_title_runs_nothing(served: tuple[Path, str]) -> None:
    write(served[0], broken((3,)), "<img src=x onerror=alert(1)><script>alert(2)</script>")
    found, logged = framed(served, 1280)
    assert not logged
    assert found["scripts"] == 2
    assert set(Quiet.asked) <= {"/frame.html", "/report.html", "/favicon.ico"}


def test_the_policy_of_the_page_is_what_stops_requests(served: tuple[Path, str]) -> None:
    """Were an address ever to get into the page, the browser must refuse it, and say so."""
    folder, base = served
    write(folder, broken((3,)))
    page = folder / "report.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<main>", f'<main><img src="{base}/leak.png">'), encoding="utf-8")
    _found, logged = framed(served, 1280)
    assert any("Content Security Policy" in line for line in logged)
    assert "/leak.png" not in Quiet.asked


def test_picture_of_the_page_is_not_empty(served: tuple[Path, str]) -> None:
    folder, base = served
    write(folder, healthy(fabric_of((3, 2))))
    picture = folder / "report.png"
    browse(f"{base}/report.html", folder, f"--screenshot={picture}", "--window-size=1280,1600")
    assert picture.stat().st_size > 50_000
