# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks + observations → results. Pure.

"I could not look" (node unreachable, module crashed, probe not sent, no pod to probe) is an
error: never a failure, and never a success. A check that only means something after another
one passed is skipped when that one failed, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..plan import plan_fleet
from .checks import Check, checks_of
from .learned import judge_learned
from .local import judge_node
from .observations import Answer, Answers, Missing
from .remedies import remedy_error
from .results import Result, Status
from .scene import Scene

NOT_SENT = Answer(ok=False, looked=False, error="the node reported no such probe")
Verdict = tuple[Status, str]


def judge(scene: Scene, probed: Mapping[str, Answers | Missing]) -> list[Result]:
    """Every result of a verification, node by node in the order of the fleet."""
    results: list[Result] = []
    spoke = () if scene.run.only else scene.heard
    plans = {plan.node.name: plan for plan in plan_fleet(scene.fabric, spoke)}
    for node in scene.nodes:
        answers = probed.get(node.name, Missing("the node gave no answer"))
        results += () if scene.run.only else judge_node(scene, node)
        results += judge_learned(scene, plans[node.name]) if node.name in plans else ()
        results += (_judge(scene, check, answers) for check in checks_of(scene, node.name))
    return results


def _judge(scene: Scene, check: Check, answers: Answers | Missing) -> Result:
    status, found = _verdict(scene, check, answers)
    answer = answers.get(check.id) if check.probe and not isinstance(answers, Missing) else None
    return Result(
        id=check.id,
        promise=check.promise,
        kind=check.kind,
        family=check.family,
        source=check.source,
        target=check.target,
        backend=check.backend,
        status=status,
        expected=check.expected,
        found=found,
        remedy=_remedy(scene, check, status),
        rtt_us=answer.rtt_us if answer and answer.ok else None,
    )


def _remedy(scene: Scene, check: Check, status: Status) -> str | None:
    """None where there is nothing to mend."""
    if status == "error":
        blind = isinstance(scene.start(check.source), Missing) or not check.blocked
        return remedy_error(check.source if blind else check.target)
    return check.remedy() if status == "failure" else None


def _verdict(scene: Scene, check: Check, answers: Answers | Missing) -> Verdict:
    if check.skipped:
        return "skipped", check.skipped
    start = scene.start(check.source)
    if isinstance(start, Missing):
        return "error", f"{check.source} could not be looked at: {start.reason}"
    if check.blocked:
        return "error", check.blocked
    if isinstance(answers, Missing):
        return "error", f"{check.source} sent no probes: {answers.reason}"
    if check.needs:
        return RULES[check.kind](check, answers)
    return _answered(answers.get(check.id, NOT_SENT))


def _answered(answer: Answer) -> Verdict:
    if not answer.looked:
        return "error", f"the probe was not sent: {answer.error or 'no reason given'}"
    if answer.ok:
        late = f", at attempt {answer.attempts}" if answer.attempts > 1 else ""
        return "success", f"answered{_after(answer)}{late}"
    tries = f"{answer.attempts} attempts" if answer.attempts > 1 else "1 attempt"
    reason = f" ({answer.error})" if answer.error not in (None, "no answer") else ""
    return "failure", f"no answer after {tries}{reason}"


def _after(answer: Answer) -> str:
    return "" if answer.rtt_us is None else f" after {answer.rtt_us / 1000:.2f} ms"


def _too_large(check: Check, answers: Answers) -> Verdict:
    """One byte more than the MTU; ``ok`` says that nothing came back. That proves something only
    where a packet of exactly the MTU did come back."""
    own, smaller = answers.get(check.id, NOT_SENT), answers.get(check.needs[0], NOT_SENT)
    if not own.looked:
        return _answered(own)
    if not own.ok:
        return "failure", "it passed"
    if not smaller.looked:
        return "error", "shows nothing, because the packet of exactly the MTU was not sent"
    if not smaller.ok:
        return "skipped", "shows nothing while a packet of exactly the MTU does not pass"
    return "success", f"it did not pass: {own.error or 'no answer'}"


def _seen(check: Check, answers: Answers) -> Verdict:
    """What the far side reports as the source of the packets that it got."""
    read = [answers.get(name, NOT_SENT) for name in check.needs]
    if not check.sources:
        return "error", "the pod's own address is not known"
    seen = sorted({answer.source_seen for answer in read if answer.ok and answer.source_seen})
    foreign = [address for address in seen if address not in check.sources]
    if foreign:
        return "failure", f"the far side saw {' and '.join(foreign)}"
    if seen:
        return "success", f"the far side saw {seen[0]}"
    if any(answer.ok for answer in read):
        return "error", "the far side does not tell what it saw"
    if all(answer.looked for answer in read):
        return "skipped", "shows nothing while no answer comes back"
    return "error", "the probes were not sent"


def _seen_outside(check: Check, answers: Answers) -> Verdict:
    """A foreign host outside may answer without telling what it saw: then nobody promised
    that it would."""
    answer = answers.get(check.needs[0], NOT_SENT)
    if answer.ok and not answer.source_seen:
        return "skipped", "the host answers, and does not tell what it saw"
    return _seen(check, answers)


RULES: Mapping[str, Callable[[Check, Answers], Verdict]] = {
    "mtu_exceed": _too_large,
    "source": _seen,
    "masquerade": _seen_outside,
}
