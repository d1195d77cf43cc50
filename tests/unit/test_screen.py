# SPDX-License-Identifier: GPL-3.0-or-later
"""The line of progress: how many nodes, how many failed, how long still, never too long."""

from __future__ import annotations

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.screen import (
    Running,
    away_text,
    duration,
    folded,
    progress,
)
from hypothesis import given
from hypothesis import strategies as st

HEAD = "converge     Read every node  "


ROUTE = "ip route replace 10.64.9.0/24 via 192.0.2.99 src 10.64.1.1 proto 112 metric 205"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("  a bb ccc dddd eeeee ffffff ggggggg", ["  a bb ccc dddd eeeee ffffff", "    ggggggg"]),
        (
            "    do:       set one thing or another",
            ["    do:       set one thing or", "              another"],
        ),
        (ROUTE, [ROUTE]),
        (f"one, phase add: {ROUTE}", ["one, phase add:", f"  {ROUTE}"]),
        (
            "see that `kubectl get nodes -o wide` says",
            ["see that", "  `kubectl get nodes -o wide`", "  says"],
        ),
        (
            'expected: sizes of batches such as [1, "25%"]',
            ["expected: sizes of batches such", '          as [1, "25%"]'],
        ),
        ("/a/path/of/more/than/thirty/two/columns", ["/a/path/of/more/than/thirty/two/columns"]),
        ("node-1        12        13        14", ["node-1        12        13        14"]),
        ("12 a-node ........F..................", ["12 a-node ........F.................."]),
        ("", [""]),
    ],
)
def test_lines_are_folded_below_their_text(text: str, lines: list[str]) -> None:
    assert folded(text, 32).split("\n") == lines
    assert folded(text, None) == text


@given(st.lists(st.text("abc`-:,. \n", max_size=60)), st.integers(20, 100))
def test_folding_keeps_every_word(texts: list[str], columns: int) -> None:
    text = "\n".join(texts)
    assert folded(text, columns).split() == text.split()


def test_why_a_node_is_away_is_one_line_unless_it_is_a_banner() -> None:
    said = (
        "Failed to connect to the host via ssh: ssh: connect to host 192.0.2.1 port 22: refused\n"
    )
    assert away_text(said) == "ssh: connect to host 192.0.2.1 port 22: refused"
    banner = "@@@@@@@\nREMOTE HOST IDENTIFICATION HAS CHANGED\nIt is\npossible"
    assert away_text(banner).split("\n")[1:] == [f"  {line}" for line in banner.split("\n")]


def task(done: int, hosts: int, failed: int = 0, once: bool = False) -> Running:
    states = ["failed"] * failed + ["ok"] * (done - failed)
    results = {f"node-{number}": state for number, state in enumerate(states)}
    return Running("converge", "Read every node", once, False, hosts, results=results)


@pytest.mark.parametrize(
    ("running", "seconds", "said"),
    [
        (task(0, 50), 9, "0/50"),
        (task(10, 50), 1, "10/50"),
        (task(10, 50), 5, "10/50, about 20 s left"),
        (task(10, 50), 60, "10/50, about 4 min left"),
        (task(10, 50, failed=2), 5, "10/50, 2 failed, about 20 s left"),
        (task(50, 50, failed=1), 60, "50/50, 1 failed"),
        (task(0, 1), 9, ""),
        (task(0, 50, once=True), 9, ""),
    ],
)
def test_nodes_done_failed_and_the_time_left(running: Running, seconds: float, said: str) -> None:
    assert progress(running, seconds, 100) == (HEAD + said).rstrip()


def test_a_node_that_was_skipped_is_done() -> None:
    running = task(1, 3)
    running.skipped = 1
    assert progress(running, 0, 100) == HEAD + "2/3"


def test_a_note_stands_last() -> None:
    assert progress(task(1, 3), 0, 100, "node-2: try 1 of 5") == HEAD + "1/3  node-2: try 1 of 5"


@given(st.integers(0, 9), st.floats(0, 1e6), st.integers(1, 200))
def test_it_fits_on_one_line(done: int, seconds: float, columns: int) -> None:
    assert len(progress(task(done, 9), seconds, columns)) < columns


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (0.2, 99, 100, 3600)] == ["1 s", "99 s", "2 min", "60 min"]
