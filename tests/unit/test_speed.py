# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a way is: bounded on the wire, one pair for each kind of way, compared in the report."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils import probe_server, stream
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.data import report_data
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.html import report_html
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.speed import (
    compared,
    measured_pairs,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import role_file
from observed import fabric_of, healthy

HOME = "127.0.0.1"
SOURCES = {
    name: role_file("report", "templates", name)
    for name in ("report.html.j2", "parts.html.j2", "style.css", "page.js")
}


@pytest.fixture
def port() -> Iterator[int]:
    """Of a probe server as it runs in a probe pod."""
    with socket.socket() as free:
        free.bind((HOME, 0))
        number = free.getsockname()[1]
    command = [sys.executable, str(Path(probe_server.__file__)), "--port", str(number)]
    server = subprocess.Popen([*command, "--ttl", "60"])
    try:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((HOME, number), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < end and server.poll() is None
                time.sleep(0.05)
        yield number
    finally:
        server.kill()
        server.wait()


def test_no_more_is_sent_than_the_limit_says(port: int) -> None:
    """The limit is far below what this machine does, and is said to have been met."""
    began = time.monotonic()
    found = stream.measure(HOME, port, 0.5, 40)
    assert time.monotonic() - began < 0.5 + 0.5 + 4 * stream.SILENCE
    # One block more than the limit may be on its way when the time ends.
    assert 0 < found["mbit"] < 40 * 1.2
    assert found["rtt_us"] > 0
    fast = stream.throughput(HOME, port, 0.2, 10**6)
    assert fast > found["mbit"]


def test_the_far_side_counts_what_arrived(port: int) -> None:
    with socket.create_connection((HOME, port), timeout=5) as talk:
        talk.sendall(b"\xff\xff\xff\xff" + b"x" * 1_000_003)
        talk.shutdown(socket.SHUT_WR)
        assert b'"length": 1000003' in talk.recv(4096)


def test_what_is_lost_of_the_questions_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that loses one question of eight, and says another answer twice."""
    monkeypatch.setattr(stream, "SILENCE", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HOME, 0))
        server.settimeout(2)

        def serve() -> None:
            with contextlib.suppress(OSError):
                for number in itertools.count():
                    payload, source = server.recvfrom(4096)
                    for _again in range((1, 2, 1, 0, 1, 1, 1, 1)[number % 8]):
                        server.sendto(probe_server.answer(source, payload), source)

        beside = threading.Thread(target=serve)
        beside.start()
        assert 0 < stream.round_trip(HOME, server.getsockname()[1], 0.3) < 50_000
        server.close()
        beside.join()


def test_who_is_no_probe_server_is_an_error() -> None:
    with socket.socket() as other:
        other.bind((HOME, 0))
        other.listen()

        def deaf() -> None:
            with other.accept()[0] as talk:
                talk.settimeout(5)
                while talk.recv(1 << 16):
                    pass

        thread = threading.Thread(target=deaf)
        thread.start()
        with pytest.raises(OSError, match="does not say what arrived"):
            stream.throughput(HOME, other.getsockname()[1], 0.1, 10)
        thread.join(10)


def test_one_pair_stands_for_each_kind_of_way() -> None:
    observed = healthy(fabric_of((3, 2)))
    pairs = measured_pairs(observed.scene())
    kinds = {(pair["backend"], pair["family"]) for pair in pairs}
    assert kinds == {(b, f) for b in ("host_routes", "vxlan") for f in ("ipv4", "ipv6")}
    assert len(pairs) == 4 and {pair["source"] for pair in pairs} == {"node-01"}
    scene = observed.scene()
    for pair in pairs:
        assert pair["address"] == scene.address(pair["target"], "podnet-verify-a", pair["family"])  # type: ignore[arg-type]
    # Where no pod is, nothing is measured, from there or to there.
    blind = observed.copy().unreachable("node-01").unreachable("node-02")
    left = {(p["source"], p["target"]) for p in measured_pairs(blind.scene())}
    assert left == {("node-03", "node-04"), ("node-04", "node-05")}


def speed(backend: str, family: str, mbit: float, **more: Any) -> dict[str, Any]:
    way = {"backend": backend, "family": family, "source": "node-01", "target": "node-02"}
    overhead = 50 if backend == "vxlan" else 0
    found = {"mbit": mbit, "limited": False, "rtt_us": 100 + overhead, "most_mbit": 1000}
    return {**way, "address": "10.64.2.2", "overhead": overhead, **found, **more}


def test_an_overlay_is_compared_with_the_direct_way_of_its_family() -> None:
    found = compared(
        [
            speed("host_routes", "ipv4", 800.0),
            speed("vxlan", "ipv4", 600.0),
            speed("vxlan", "ipv6", 5),
        ]
    )
    assert [(item["share"], item["slower_us"]) for item in found] == [
        (None, None),
        (0.75, 50),
        (None, None),
    ]
    # What met the limit is not known, so nothing is said of its share.
    found = compared([speed("host_routes", "ipv4", 1000, limited=True), speed("vxlan", "ipv4", 9)])
    assert (found[1]["share"], found[1]["slower_us"]) == (None, 50)


def test_the_report_says_what_was_measured_and_only_that() -> None:
    saved = healthy(fabric_of((3, 2))).saved()
    assert "Mbit/s" not in report_html(report_data(saved, "", ""), SOURCES)
    failed = {**speed("vxlan", "ipv6", 0), "error": "timed out <b>"}
    del failed["mbit"], failed["limited"], failed["rtt_us"]
    saved["measured"] = [
        speed("host_routes", "ipv4", 800.5),
        speed("vxlan", "ipv4", 600.25),
        failed,
    ]
    data = report_data(saved, "", "")
    text = report_html(data, SOURCES)
    assert [item.get("share") for item in data["measured"]] == [None, 0.75, None]
    for words in ("800.5 Mbit/s", "75 %", "50 µs more", "not measured", "timed out &lt;b&gt;"):
        assert words in text, words
    documented = (Path(__file__).parents[2] / "docs/report-schema.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in documented for item in data["measured"] for name in item)
