# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run says of itself while it changes a fleet, and when it is interrupted. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..changes import PHASES
from ..intent.problems import few
from ..reach import Answer
from ..screen import AWAY, away_text
from ..transaction import outcome

# What the callback says of a change when the run is interrupted; nothing any more.
OVER = {"podnet_unfinished": {"change": ""}}
# From here on some nodes keep the change, and soon all do.
HELD = {
    "podnet_unfinished": {
        "change": "some nodes may have kept the change, and the others go back by themselves: "
        "run again at once, which brings all of them forward"
    }
}


def unfinished(window: int) -> str:
    """What becomes of a change whose run is interrupted."""
    if not window:
        return "what was added or changed stays; the next run goes on from there"
    return (
        f"nodes that have not kept the change go back by themselves within {window} seconds, "
        "and at once when a run from here begins; podnet.fabric.status shows them"
    )


def stays(host: str, unread: Mapping[str, Mapping[str, Any]]) -> str:
    """Of one that answers, and odd things, the reason follows with its own result."""
    reached = not unread.get(host, {}).get("unreachable", True)
    return f"{host} {'could not be read' if reached else 'was not reached'} and stays as it is"


def left_alone(hosts: Sequence[str], unread: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each that was not read, with the reason where it is ssh's, and what to do."""
    away = [h for h in hosts if h in unread and unread[h]["unreachable"]]
    why = {host: f": {away_text(unread[host]['msg'])}" for host in away}
    lines = [f"{stays(host, unread)}{why.get(host, '')}" for host in hosts]
    return [*lines, f"    {AWAY}"] if away else lines


def elsewhere(hosts: Sequence[str]) -> list[str]:
    """One line on hosts of other batches (`serial`), if there are any."""
    if not hosts:
        return []
    verb = "is" if len(hosts) == 1 else "are"
    return [f"{few(hosts)} {verb} not part of this batch, and not looked at"]


def nodes_read(count: int) -> str:
    """`1 node read`, `50 nodes read`."""
    return f"{count} node{'s' if count != 1 else ''} read"


def sentence(runs: dict[str, dict[str, Any]], changing: int) -> str:
    """`50 nodes read, 50 to change: add 50, switch 1, remove 50`."""
    if not runs:
        return "no node could be read, and none is changed"
    numbers = {p: sum(p in run["phases"] for run in runs.values()) for p in PHASES}
    parts = ", ".join(f"{phase} {number}" for phase, number in numbers.items() if number)
    said = f"{nodes_read(len(runs))}, {changing} to change"
    return f"{said}: {parts}" if parts else said


def unreadable(name: str, why: str, said: str) -> str:
    """A node's answer that is none; ``said``: what stands beside it on the standard errors. sudo
    and its like name a password where they want one."""
    text = f"{name}: the node's state cannot be read: {why}. {said}".rstrip()
    if not re.search(r"password|sudoers|not allowed to (execute|run)", said, re.IGNORECASE):
        return text
    return (
        f"{name}: the user cannot become root without a password\n"
        "    expected: `sh -s` runs as root, with the rules of docs/least-privilege.md\n"
        f"    found:    {' '.join(said.split())}\n"
        "    do:       install these rules on the node, or give the password: --ask-become-pass"
    )


def failure(where: str, answer: Answer) -> str:
    """What went wrong with a phase on a node; empty when nothing did."""
    if answer.away:
        return f"{where}: the node was not reached\n    {answer.away}"
    came = outcome(answer.stdout)
    if answer.rc == 0 and came.state in ("applied", "committed"):
        return ""
    back = {
        "undone": "everything was taken back; the node is as it was before",
        "broken": "taking it back failed in part; run podnet-node rollback on the node",
    }.get(came.state, "nothing was changed in this phase")
    what = came.command or "staging the transaction"
    said = came.error or answer.stderr.strip() or f"exit code {answer.rc}"
    return f"{where}: {what}\n    {said}\n    {back}"
