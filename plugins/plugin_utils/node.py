# SPDX-License-Identifier: GPL-3.0-or-later
"""One node, put together: what to read, what is wanted, what to send. Pure.

The one place where plan, rendered files and the collection's own files meet; `converge`
and the tests go through here, so that they cannot disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from . import coexist, frr, networkd
from .changes import PROGRAM, ChangeSet, Wanted
from .conflist import plugins_of
from .differ import diff
from .foreign import needed_on_foreign_interfaces
from .intent.model import FAMILIES, Fabric
from .kernel.objects import Route
from .kernel.read import read_script
from .kernel.state import State, parse
from .masquerade import untranslated
from .plan import NodePlan, plan_nothing, settings
from .strangers import Way, guarded, senders, transition
from .transaction import Staged, stage_script
from .units import FOLDER, HEAL_LINK, HEAL_PATHS, HEAL_TIMER, with_systemctl

UNDERLAY_SYSCTL = "/etc/podnet/underlay.sysctl"
UNIT = f"{FOLDER}/podnet.service"
UNIT_LINK = f"{FOLDER}/multi-user.target.wants/podnet.service"
CURRENT = "/etc/podnet/current/"
PROTOCOLS = "/etc/iproute2/rt_protos.d/podnet.conf"


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """Text that a node gets.

    Attributes:
        definitions: rendered file name → content; they become a generation.
        program, unit, protocols: the collection's own files.
        heal: units of the healing timer, name → content; empty when it is off.
        frr: files that start FRR, name → content.
    """

    definitions: Mapping[str, str]
    program: str
    unit: str
    protocols: str
    heal: Mapping[str, str] = field(default_factory=dict)
    frr: Mapping[str, str] = field(default_factory=dict)

    @property
    def conf(self) -> str:
        """Of FRR; empty where there shall be none."""
        return self.definitions.get(frr.CONF, "")


def script_to_read(fabric: Fabric, plan: NodePlan) -> str:
    """The shell text that prints this node's state."""
    return read_script(
        addresses=[item.cidr for item in plan.addresses],
        underlay=plan.node.underlay_addresses,
        # Of both families: a range that retires may be the last one of its family.
        sysctls=[item.path for item in settings(FAMILIES, plan.links)],
        files=[PROGRAM, *owned_files(fabric)],
        symlinks={
            UNIT_LINK: UNIT,
            HEAL_LINK: f"{FOLDER}/{HEAL_TIMER}",
            frr.UNIT_LINK: frr.UNIT,
        },
        plugins=plugins_of(fabric),
        conf_dir=fabric.cni.conf_dir,
        bin_dir=fabric.cni.bin_dir,
        cni_version=fabric.cni.version,
    )


def read(fabric: Fabric, plan: NodePlan, output: str) -> State:
    """The state that the script printed."""
    wanted = {item.dst for item in plan.objects if isinstance(item, Route)}
    return parse(output, frozenset(wanted | {route.dst for route in plan.learned}))


def conflist_path(fabric: Fabric) -> str:
    return f"{fabric.cni.conf_dir}/{fabric.cni.file}"


def owned_files(fabric: Fabric) -> list[str]:
    """Absolute paths that podnet may have on a node, without its program and its folder's."""
    own = [UNIT, PROTOCOLS, UNDERLAY_SYSCTL, conflist_path(fabric), *HEAL_PATHS]
    return [*own, *coexist.PATHS, *networkd.PATHS, *frr.FILES.values()]


def former_conflist(have: State) -> frozenset[str]:
    """The conflist of another name or folder that the current generation has, where it is as podnet
    wrote it: a container runtime takes the first name of all."""
    wrote = {
        (path.removeprefix(CURRENT), sha)
        for path, sha in have.files.items()
        if path.startswith(CURRENT) and path.endswith(".conflist")
    }
    return frozenset(
        path
        for path, sha in have.files.items()
        if not path.startswith(CURRENT) and (path.rpartition("/")[2], sha) in wrote
    )


def changes_for(
    fabric: Fabric,
    plan: NodePlan,
    files: NodeFiles,
    have: State,
    generations: int,
    ident: str,
) -> tuple[ChangeSet, str]:
    """The node's changes, and the shell text that stages them, which is empty where there are none;
    ``generations`` is how many stay on the node, ``ident`` names the transaction."""
    own = _own_files(fabric, plan, files, have)
    way = Way(senders(fabric, plan), plan.links, untranslated(fabric, plan), guarded(fabric))
    table = transition(way, have)
    wide = files.definitions["podnet.nft"] + table.wide if table.wide else ""
    wanted = Wanted(
        objects=plan.objects,
        files={path: (name, sha256(text), mode) for path, (name, text, mode) in own.items()},
        symlinks=_symlinks(files, have),
        nft_sha256=sha256(files.definitions["podnet.nft"]),
        generation_sha256={name: sha256(text) for name, text in files.definitions.items()},
        program_sha256=sha256(files.program),
        owned=frozenset(owned_files(fabric)) | former_conflist(have),
        nft_more=table.more,
        nft_surplus=table.surplus,
        nft_wide_sha256=sha256(wide) if wide else "",
    )
    speaker = frr.Speaker(files.conf, plan)
    changes = _told(diff(wanted, have), bool(files.heal), have)
    changes = frr.with_frr(changes, speaker, have)
    # What is learned follows from the configuration, which this run is about to change.
    if not {frr.APPLY, frr.RELOAD} & set(changes.add):
        changes = replace(changes, astray=tuple(frr.warnings(speaker, have)))
    if not changes.phases:
        return changes, ""  # it is the largest thing by far that a run keeps of a node
    staged = {f"generation/{name}": text for name, text in files.definitions.items()}
    staged.update({name: text for name, text, _mode in own.values()})
    staged |= frr.staged(speaker, have)
    if wide:
        staged["files/wide.nft"] = wide
    staged["cni"] = fabric.cni.version + "\n"
    if changes.stale_program:
        staged["files/podnet-node"] = files.program
    return changes, stage_script(Staged(staged, generations, ident, have.last), changes)


def nothing_for(
    fabric: Fabric, have: State, program: str, generations: int, ident: str
) -> tuple[ChangeSet, str]:
    """Like `changes_for`, for a node that shall have nothing of podnet any more. The folder of
    podnet itself goes afterwards, with `purge`.

    Forwarding and the settings of foreign interfaces stay until the next boot: podnet cannot
    know who relies on them by now."""
    kept = {p.removeprefix(CURRENT): sha for p, sha in have.files.items() if p.startswith(CURRENT)}
    wanted = Wanted(
        objects=(),
        files={},
        symlinks={},
        nft_sha256="",
        generation_sha256=kept,
        program_sha256=have.files.get(PROGRAM, sha256(program)),
        owned=frozenset(owned_files(fabric)) | former_conflist(have),
    )
    changes = _told(diff(wanted, have), False, have)
    changes = frr.with_frr(changes, frr.Speaker("", plan_nothing("")), have)
    # Nothing runs without the program, and where nothing is to be run nobody needs it.
    needed = changes.stale_program and bool(changes.remove)
    changes = replace(changes, stale_program=needed, stale_generation=False)
    staged = {"files/podnet-node": program} if needed else {}
    return changes, stage_script(Staged(staged, generations, ident, have.last), changes)


def _own_files(
    fabric: Fabric, plan: NodePlan, files: NodeFiles, have: State
) -> dict[str, tuple[str, str, str]]:
    """Absolute path → (name in the transaction's folder, content, mode)."""
    own = {
        PROTOCOLS: ("files/rt_protos.conf", files.protocols, "0644"),
        conflist_path(fabric): (
            f"generation/{fabric.cni.file}",
            files.definitions[fabric.cni.file],
            "0644",
        ),
    }
    if have.has_systemd:
        own[UNIT] = ("files/podnet.service", files.unit, "0644")
        for name, text in files.heal.items():
            own[f"{FOLDER}/{name}"] = (f"files/{name}", text, "0644")
    if files.conf:
        for name, text in files.frr.items():
            if have.has_systemd or frr.FILES[name] != frr.UNIT:
                mode = frr.MODES.get(name, "0644")
                own[frr.FILES[name]] = (f"files/frr-{name}", text, mode)
    own |= coexist.drop_ins(fabric, plan, have)
    for path in networkd.PATHS:
        if (name := path.rpartition("/")[2]) in files.definitions:
            own[path] = (f"generation/{name}", files.definitions[name], "0644")
    held = needed_on_foreign_interfaces(plan.objects, have)
    if held or UNDERLAY_SYSCTL in have.files:
        text = "# podnet: settings of interfaces that are not podnet's; set first at boot.\n"
        text += "".join(f"{path} = {value}\n" for path, value in sorted(held.items()))
        own[UNDERLAY_SYSCTL] = ("files/underlay.sysctl", text, "0644")
    return own


def _told(changes: ChangeSet, heal: bool, have: State) -> ChangeSet:
    """The same changes with what running daemons have to be told."""
    told = networkd.with_told(with_systemctl(changes, heal, have), have)
    return coexist.with_told(told, have)


def _symlinks(files: NodeFiles, have: State) -> dict[str, str]:
    if not have.has_systemd:
        return {}
    links = {UNIT_LINK: UNIT}
    if files.heal:
        links[HEAL_LINK] = f"{FOLDER}/{HEAL_TIMER}"
    if files.conf:
        links[frr.UNIT_LINK] = frr.UNIT
    return links
