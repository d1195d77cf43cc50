# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode bgp: what a node's FRR must have by itself, without a packet. Pure.

Routes that were learned outlive the session that they came by, for as long as a graceful restart
may take; so sessions are judged apart from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..intent.model import Family, Node, family_of
from ..kernel.objects import Learned
from ..kernel.state import UnreadableError
from ..plan import NodePlan
from ..speakers.heard import Heard, read
from ..speakers.wanted import Session, as_planned, sessions
from .observations import Missing
from .remedies import remedy_error, remedy_speaker
from .results import Result, Status
from .scene import Scene

KINDS = ("learned", "session")
Verdict = tuple[Status, str]


def read_heard(saved: Any) -> Heard | Missing:
    """A saved answer of FRR: {"answer": text} or {"error": text}; None: no answer."""
    if not isinstance(saved, Mapping) or "answer" not in saved:
        reason = saved.get("error") if isinstance(saved, Mapping) else None
        return Missing(str(reason or "the node gave no answer"))
    try:
        return read(str(saved["answer"]))
    except UnreadableError as error:
        return Missing(str(error))


def judge_learned(scene: Scene, plan: NodePlan) -> Iterator[Result]:
    """One result per prefix of a peer that is probed as well, and one per session."""
    node, heard = plan.node, scene.heard[plan.node.name]
    peers = {peer.name for peer in scene.ring.peers(node.name)}
    for route in plan.learned:
        if route.peer in peers:
            yield _learned(node, route, heard)
    for session in sessions(scene.fabric, plan):
        if not session.peer or session.peer in scene.run.asked:
            yield _session(node, session, heard)


def _learned(node: Node, route: Learned, heard: Heard | Missing) -> Result:
    expected = f"{route.dst} is learned{f' via {route.via}' if route.via else ''}"
    if isinstance(heard, Missing):
        verdict: Verdict = "error", f"could not look: {heard.reason}"
    else:
        hops = heard.learned.get(route.dst, ())
        found = f"learned via {' and '.join(hops)}" if hops else "not learned"
        verdict = "success" if as_planned(route, heard) else "failure", found
    ends = (node.name, route.peer, route.peer)
    return _result("learned", family_of(route.dst), ends, expected, verdict)


def _session(node: Node, session: Session, heard: Heard | Missing) -> Result:
    expected = f"a BGP session with {session.address}, AS {session.asn}"
    if isinstance(heard, Missing):
        verdict: Verdict = "error", f"could not look: {heard.reason}"
    elif heard.stands(session.address):
        verdict = "success", "established"
    else:
        peer = heard.sessions.get(session.address)
        verdict = "failure", f"none, it is {peer.state}" if peer else "none"
    # A router is no node, and what is wrong with the way to it concerns this one.
    ends = (node.name, session.peer or node.name, session.peer or session.address)
    return _result("session", session.family, ends, expected, verdict)


def _result(
    kind: str, family: Family, ends: tuple[str, str, str], expected: str, verdict: Verdict
) -> Result:
    """``ends``: source, target, and what stands in the id for the target."""
    source, target, subject = ends
    status, found = verdict
    remedy = {"failure": remedy_speaker(source), "error": remedy_error(source)}.get(status)
    return Result(
        id=f"{kind}/{family}/{source}/{subject}",
        promise=4,
        kind=kind,
        family=family,
        source=source,
        target=target,
        backend="bgp",
        status=status,
        expected=expected,
        found=found,
        remedy=remedy,
    )
