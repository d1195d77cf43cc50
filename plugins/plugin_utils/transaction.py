# SPDX-License-Identifier: GPL-3.0-or-later
"""ChangeSet → the shell text that stages and runs it on a node. Pure.

The text needs a POSIX shell only. It stages everything into one folder, hands that to
`podnet-node`, and prints one line per outcome that `outcome` reads back.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .changes import PHASES, PROGRAM, Change, ChangeSet
from .kernel.answer import MARKER

# Of BGP; it waits in the transaction until that has ended, for root alone to read.
PASSWORD = "files/password"

# Named after the transaction, and gone with it: what a killed run left has another name.
_HEAD = """set -eu; umask 022; LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin; export PATH
stage=/etc/podnet/stage.{ident}
trap 'for f in "$stage" {program}; do if [ -e "$f" ]; then rm -rf "$f"; fi; done' EXIT
mkdir -p /etc/podnet/generations /run/podnet/work {folders}
"""


# What these do meets each packet of each connection, so that the one over which a node answers
# afterwards tells as much as a new one would: routes, what is behind them, whose encapsulated
# packets are taken, and pods' ends. Addresses, devices, settings and rules may treat a new
# connection otherwise.
_ALIKE = ("ip route ", "ip neighbour ", "bridge fdb ", "element ", "port ")


@dataclass(frozen=True, slots=True)
class Staged:
    """What travels to the node with the first phase.

    Attributes:
        files: path in the transaction's folder → content.
        kept: how many generations to keep.
        ident: names the transaction, so that two runs cannot mix.
        last: the transaction before it when the node was read; another one makes this one void.
    """

    files: Mapping[str, str]
    kept: int
    ident: str
    last: str = ""


def stage_script(staged: Staged, changes: ChangeSet) -> str:
    """Text that lays down the transaction; run it before the first phase."""
    files = dict(staged.files)
    for name in PHASES:
        phase = changes.phase(name)
        if phase:
            files[f"{name}.do"] = _lines(change.do for change in phase)
            files[f"{name}.undo"] = _lines(change.undo for change in phase)
    files["kept"] = f"{staged.kept}\n"
    program = files.pop("files/podnet-node", None)
    folders = [f'"$stage/{f}"' for f in sorted({"backup", *(n.rpartition("/")[0] for n in files)})]
    folders += [PROGRAM.rpartition("/")[0]] if program else []
    head = _HEAD.replace("{ident}", staged.ident).replace("{program}", f"{PROGRAM}.new")
    parts = [head.replace("{folders}", " ".join(folders))]
    for name, content in sorted(files.items()):
        put = _put(f"$stage/{name}", content)
        parts.append(f"umask 077\n{put}umask 022\n" if name == PASSWORD else put)
    parts.append('[ -z "${PODNET_NUMBER:-}" ] || echo "$PODNET_NUMBER" >"$stage/number"\n')
    if program is not None:
        parts += [_put(f"{PROGRAM}.new", program), f"chmod 755 {PROGRAM}.new\n"]
        parts.append(f"mv -f {PROGRAM}.new {PROGRAM}\n")
    last = staged.last if staged.last.isalnum() else ""
    parts.append(f'begin="begin $stage {staged.ident} ${{PODNET_WINDOW:-0}} {last} --"\n')
    return "".join(parts)


def head_script(window: int, number: int | None) -> str:
    """Text before the staging.

    Args:
        window: seconds; without a commit within them the node goes back alone. 0: no limit.
        number: of the new generation; None when the definitions on the node stay.
    """
    return f"PODNET_WINDOW={window} PODNET_NUMBER={number or ''}\n"


def phase_script(ident: str, phase: str, commit: bool) -> str:
    """Text that begins the transaction where it was staged just before, runs one phase, and commits
    where nothing is to be waited for: one process, one lock."""
    end = f" -- commit {ident}" if commit else ""
    return f'set -- ${{begin:-}}; begin=\n{PROGRAM} "$@" apply {ident} {phase}{end}\n'


def needs_new_connection(changes: ChangeSet) -> bool:
    """Whether only a connection that is made afterwards proves that the node can be reached."""
    lines = (str(change.do) for phase in PHASES for change in changes.phase(phase))
    return not all(line.startswith(_ALIKE) for line in lines)


def _lines(commands: Iterable[object]) -> str:
    return "".join(f"{command or '-'}\n" for command in commands)


def _put(path: str, content: str) -> str:
    """Write a file by the shell alone: a here-document takes a process to read it."""
    text = content if content.endswith("\n") or not content else content + "\n"
    return f'printf %s {shlex.quote(text)} >"{path}"\n'


def end_script(ident: str, verb: str) -> str:
    """Text that ends a transaction that waits (``commit``, ``rollback``), or gives it its whole
    window once more (``hold``)."""
    return f"{PROGRAM} {verb} {ident}\n"


def clear_script(ident: str) -> str:
    """Text that takes back what a run left that did not come to its end, and nothing that another
    one has begun since. The node says what it is called; one that cannot be read has no name."""
    return f"{PROGRAM} rollback {ident if ident.isalnum() else ''}\n"


def purge_script() -> str:
    """Text that takes podnet's own folder and program away, and says so if there were any."""
    return f"[ ! -x {PROGRAM} ] || {{ {PROGRAM} purge && echo purged; }}\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a phase came to on a node.

    Attributes:
        state: ``applied``, ``committed``, ``undone`` (failed and taken back completely),
            ``broken`` (failed and could not be taken back) or ``unknown``.
        command: the line that failed.
        error: what its tool said.
    """

    state: str
    command: str = ""
    error: str = ""


def outcome(output: str) -> Outcome:
    """Read what `podnet-node` printed."""
    state, command = "unknown", ""
    noise: list[str] = []
    for line in output.splitlines():
        if not line.startswith(MARKER):
            noise.append(line.strip())
            continue
        word, _space, rest = line[len(MARKER) :].partition(" ")
        if word == "failed":
            command = rest
        else:
            state = word
    return Outcome(state, command, "; ".join(line for line in noise if line))


def shown(changes: Iterable[Change]) -> list[str]:
    """The commands of a phase as a person reads them in check mode."""
    return [f"{change.do}    # {change.why}" for change in changes if change.do.tool != "-"]
