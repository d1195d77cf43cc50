# SPDX-License-Identifier: GPL-3.0-or-later
"""The generations that nodes keep → the intent to go back to. Pure.

A generation remembers the intent that made it, so going back is one more change towards an
intent: planned, checked, phased, confirmed and verified like every other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..intent.model import Fabric
from ..intent.problems import Problem, ProblemsError, few, shown
from ..intent.variables import NODE_VARIABLES, variables_of
from ..kernel.answer import MARKER, numbers
from .numbers import Numbers

PREVIOUS = "previous"
SHOWN = 10
NONE_GIVEN = Numbers()
Variables = Mapping[str, Any]

_NAME_IT = (
    "name the nodes that go back (podnet_rollback_nodes), or the generation (podnet_rollback_to); "
    "status lists them"
)

# Every manifest that the node keeps; one round trip. A node that keeps none says so: that it said
# nothing is no answer.
SCRIPT = r"""if [ -e /etc/podnet ]; then
  cd /etc/podnet || exit 1
  echo "@@podnet current $(readlink current)"
  for g in generations/*; do
    [ ! -f "$g/manifest.json" ] || { echo "@@podnet generation $g"; cat "$g/manifest.json"; }
  done
fi
echo "@@podnet end"
"""


@dataclass(frozen=True, slots=True)
class History:
    """What one node keeps. ``intents``: number of a generation → the node's variables then."""

    current: int = 0
    intents: Mapping[int, Variables] = field(default_factory=dict)

    def at(self, number: int) -> int | None:
        """The generation that was current when the fleet was at ``number``."""
        return max((n for n in self.intents if n <= number), default=None)


class Chosen(NamedTuple):
    """What to go back to: variables by node, what there is to know of it, and what changes, one
    line for each value."""

    hosts: dict[str, Variables]
    notes: list[str]
    changes: list[str]


def read(output: str) -> History:
    """What `SCRIPT` printed.

    Raises:
        ValueError: not all of it.
    """
    if not output.rstrip().endswith(f"{MARKER}end"):
        raise ValueError("the answer has no end")
    current, texts = 0, dict[int, list[str]]()
    lines: list[str] = []
    for line in output.splitlines():
        if not line.startswith(MARKER):
            lines.append(line)
            continue
        word, _space, rest = line[len(MARKER) :].partition(" ")
        for number in numbers(rest.rpartition("/")[2]):
            lines = texts.setdefault(number, []) if word == "generation" else []
            current = number if word == "current" else current
    intents = {number: _intent("\n".join(text)) for number, text in texts.items()}
    return History(current, {n: intent for n, intent in intents.items() if intent})


def _intent(text: str) -> Variables:
    """Empty where the manifest is none, or is of a podnet that did not keep the intent."""
    try:
        found = json.loads(text).get("intent", {})
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def fleet_before(
    histories: Mapping[str, History],
    others: Mapping[str, Variables],
    to: str,
    given: Numbers = NONE_GIVEN,
    away: Collection[str] = (),
) -> Chosen:
    """The variables of every node at an earlier state of the fleet. What all nodes share comes from
    those that were there: a node that was away then kept an older one.

    Args:
        histories: of the nodes that were asked.
        others: variables of the nodes that were not read; they stay.
        to: ``previous``, or the number of a generation that one of them keeps.
        given: numbers that runs from this folder have given.
        away: nodes that were to be read, too, and could not be.

    Raises:
        ProblemsError: there is no such state, or nobody can tell which is the previous one.
    """
    number = _previous(histories, given, away) if to == PREVIOUS else _kept(histories, to)
    found = _fleet_at(histories, others, number)
    young = _younger(histories, number)
    notes = [f"{name} has no generation that old; its own settings stay" for name in young]
    notes.insert(0, f"back to generation {number}")
    now = {name: h.intents.get(h.current, {}) for name, h in histories.items()} | dict(others)
    return Chosen(found, notes, _changes(now, found))


def _fleet_at(
    histories: Mapping[str, History], others: Mapping[str, Variables], number: int
) -> dict[str, Variables]:
    there = {name: at for name, h in histories.items() if (at := h.at(number)) is not None}
    last = max(there, key=lambda name: there[name])
    fleet = histories[last].intents[there[last]]
    own = {n: h.intents[there.get(n, max(h.intents))] for n, h in histories.items()}
    return {name: _node_of(variables, fleet) for name, variables in {**own, **others}.items()}


def _younger(histories: Mapping[str, History], number: int) -> list[str]:
    return [name for name, history in histories.items() if history.at(number) is None]


def nodes_before(
    histories: Mapping[str, History], others: Mapping[str, Variables], to: str, nodes: list[str]
) -> Chosen:
    """The fleet as it is, but for the settings of some nodes, which are those of an earlier
    generation of theirs: by number, or the newest one in which they were different."""
    there = {n: h for n, h in histories.items() if h.current in h.intents}
    now = {name: h.intents[h.current] for name, h in there.items()}
    last = max(there, key=lambda name: there[name].current, default="")
    # What all share is what the newest has: a node that was away since has an older one, and a plan
    # or an inventory may be ahead.
    before: dict[str, Variables] = {
        name: _node_of(own, now[last]) if last else own for name, own in {**now, **others}.items()
    }
    found = dict(before)
    notes: list[str] = []
    problems: list[Problem] = []
    for name in nodes:
        if name not in found:
            problems.append(_stranger(name, [*histories]))
            continue
        history = histories.get(name, History())
        known = [n for n in sorted(history.intents, reverse=True) if n < history.current]
        if to != PREVIOUS:
            known = [n for n in known if str(n) == to]
        kept = history.intents
        if other := [n for n in known if _own(kept[n]) != _own(found.get(name, {}))]:
            found[name] = _node_of(kept[other[0]], found[name])
            notes.append(f"{name}: back to its generation {other[0]}")
        else:
            problems.append(_none_kept({name: history}, to))
    if problems:
        raise ProblemsError("the rollback", problems)
    return Chosen(found, notes, _changes(before, found))


def elsewhere(fabric: Fabric, manifests: Mapping[str, str]) -> Problem | None:
    """Nodes that have what another intent gives: that much is wrong with them because an inventory
    was not applied, or because they went back.

    Args:
        manifests: node of the fleet → that of its current generation; empty where it has none.
    """
    now = {name: intent for name, text in manifests.items() if (intent := _intent(text))}
    then = {name: variables_of(fabric, fabric.by_name[name]) for name in now}
    names = [name for name in sorted(now) if now[name] != then[name]]
    if not names:
        return None
    changes = _changes(now, {name: then[name] for name in names})
    return Problem(
        "the inventory",
        f"says otherwise than what was applied last to {few(names, SHOWN)}",
        "one that was applied; until then causes and repairs lead to it from what nodes have",
        few(changes, SHOWN, "\n              "),
        "run podnet.fabric.drift, which names every difference; then run site, or verify with the "
        "inventory that was applied",
    )


def _kept(histories: Mapping[str, History], to: str) -> int:
    kept = {n for history in histories.values() for n in history.intents}
    if to not in map(str, kept):
        raise ProblemsError("the rollback", [_none_kept(histories, to)])
    return int(to)


def _previous(histories: Mapping[str, History], given: Numbers, away: Collection[str]) -> int:
    """The number before the last change. Numbers of runs that knew nothing of each other, from
    other folders or of nodes that pull, are in no order. So the last change is one that every node
    has, or one that this folder gave to those that have it."""
    last = max((history.current for history in histories.values()), default=0)
    older = sorted({n for history in histories.values() for n in history.intents if n < last})
    if not older:
        raise ProblemsError("the rollback", [_none_kept(histories, PREVIOUS)])
    have = {name for name, history in histories.items() if history.current == last}
    told = have == set(histories) or have <= given.given.get(last, frozenset())
    if silent := given.latest(last, histories, away):
        raise ProblemsError("the rollback", [_last_not_read(last, silent)])
    if not told:
        raise ProblemsError("the rollback", [_no_order(histories, last)])
    now = _fleet_at(histories, {}, last)
    if now != _fleet_at(histories, {}, older[-1]):
        return older[-1]
    other = [n for n in older if _fleet_at(histories, {}, n) != now]
    new = _younger(histories, older[-1])
    raise ProblemsError("the rollback", [_no_other(last, older[-1], other, new)])


def _last_not_read(last: int, silent: list[str]) -> Problem:
    return Problem(
        "podnet_rollback_to",
        "the last change from this folder may be one of nodes that could not be read",
        f"the generations that are kept by {few(silent, SHOWN)}",
        f"{last}, an earlier one, on the nodes that were read",
        f"reach the nodes that are missing; or {_NAME_IT}",
    )


def _no_order(histories: Mapping[str, History], last: int) -> Problem:
    have = [name for name, history in histories.items() if history.current == last]
    rest = [f"{n} has {h.current or 'none'}" for n, h in histories.items() if h.current != last]
    return Problem(
        "podnet_rollback_to",
        "which change was the last one cannot be told: nodes were changed in runs of their own",
        "the last generation on every node, or given to those that have it by a run from here",
        f"{last} on {few(have, SHOWN)}; {few(rest, SHOWN)}",
        _NAME_IT,
    )


def _no_other(last: int, before: int, other: list[int], new: list[str]) -> Problem:
    """The last run brought nodes forward that an earlier one did not reach, or a newer podnet; or
    of a node that it changed nothing older is kept."""
    also = f", and nothing of {few(new, SHOWN)}" if new else ""
    remedy = "change the inventory and run site"
    if other:
        remedy = f"name another one: -e podnet_rollback_to={other[-1]}; or {remedy}"
    return Problem(
        "podnet_rollback_to",
        f"right before generation {last}, the last one, settings were the same or are not kept",
        "a change of settings, which can be taken back",
        f"the same at generation {before}{also}; kept and different: "
        f"{', '.join(map(str, other)) or 'none'}",
        remedy,
    )


def _stranger(name: str, known: list[str]) -> Problem:
    return Problem(
        "podnet_rollback_nodes",
        "names no node of the fleet that keeps a generation",
        ", ".join(known) or "a node of the inventory",
        shown(name),
        "correct the name; status lists the generations",
    )


def _none_kept(histories: Mapping[str, History], to: str) -> Problem:
    kept = sorted({n for history in histories.values() for n in history.intents})
    current = max((history.current for history in histories.values()), default=0)
    return Problem(
        "podnet_rollback_to",
        f"{', '.join(histories) or 'no node'}: there is no such generation to go back to",
        f"{PREVIOUS}, or the number of a generation that is kept and differs",
        f"{shown(to)}; kept: {', '.join(map(str, kept)) or 'none'}; current: {current or 'none'}",
        "status lists the generations; without an older one, change the inventory and run site",
    )


def in_batches(batch: list[str], others: list[str]) -> Problem:
    return Problem(
        "serial",
        "the rollback is of the whole fleet, and this play has it in batches",
        "a play without serial for the role rollback",
        f"a batch of {few(batch, SHOWN)}, without {few(others, SHOWN)}",
        "take serial out of the play; podnet_serial has nodes switch in batches",
    )


def not_read(name: str, found: str) -> Problem:
    return Problem(
        f"nodes.{name}: /etc/podnet",
        "the generations that it keeps cannot be read",
        "every manifest, and the end of the answer",
        found,
        "look on the node as root: podnet-node status; the others go back, and it stays as it is",
    )


def not_known(name: str, found: str) -> Problem:
    return Problem(
        f"nodes.{name}",
        "did not say what it has, and without that the others would lose their routes to it",
        "a node that answers, an earlier plan of this folder, or an inventory without problems",
        found,
        "mend the node or the inventory; or take the node out of the inventory for good",
    )


def _own(variables: Variables) -> dict[str, Any]:
    return {name: variables.get(name) for name in NODE_VARIABLES}


def _node_of(own: Variables, fleet: Variables) -> dict[str, Any]:
    """A node with settings of its own in a fleet with others."""
    shared = {name: value for name, value in fleet.items() if name not in NODE_VARIABLES}
    return shared | {name: own[name] for name in NODE_VARIABLES if name in own}


def _changes(now: Mapping[str, Variables], then: Mapping[str, Variables]) -> list[str]:
    """What a person would edit in the inventory to say the same: one line per value."""
    lines: dict[str, None] = {}
    for name in sorted(then):
        before, after = now.get(name, {}), then[name]
        for key in dict.fromkeys((*after, *before)):
            if before.get(key) != after.get(key):
                where = f"nodes.{name}.{key}" if key in NODE_VARIABLES else key
                lines[f"{where}: {_said(before.get(key))} -> {_said(after.get(key))}"] = None
    return list(lines)


def _said(value: object) -> str:
    return "not set" if value is None else shown(value)
