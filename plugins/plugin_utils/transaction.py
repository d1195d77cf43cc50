# SPDX-License-Identifier: GPL-3.0-or-later
"""ChangeSet → the shell text that stages and runs it on a node. Pure.

The text needs a POSIX shell only. It stages everything into one folder, hands that to
`podnet-node`, and prints one line per outcome that `outcome` reads back.
"""

from __future__ import annotations

import hashlib
import shlex
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .changes import PHASES, PROGRAM, Change, ChangeSet
from .kernel.state import MARKER

_HEAD = """set -eu; umask 022; LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin; export PATH
mkdir -p /etc/podnet/generations /run/podnet
stage=$(mktemp -d /etc/podnet/stage.XXXXXX); trap 'rm -rf "$stage"' EXIT
"""


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
    folders = sorted({name.rpartition("/")[0] for name in files if "/" in name})
    parts = [_HEAD]
    parts += [f'mkdir -p "$stage/{folder}"\n' for folder in folders]
    parts += [_here(name, content) for name, content in sorted(files.items())]
    parts.append('[ -z "${PODNET_NUMBER:-}" ] || echo "$PODNET_NUMBER" >"$stage/number"\n')
    program, last = shlex.quote(PROGRAM), shlex.quote(staged.last)
    parts.append(
        f'if [ -f "$stage/files/podnet-node" ]; then\n'
        f"  mkdir -p {PROGRAM.rpartition('/')[0]}\n"
        f'  cp "$stage/files/podnet-node" {program}.new; chmod 755 {program}.new\n'
        f"  mv -f {program}.new {program}\n"
        f"fi\n"
        f'{program} begin "$stage" {staged.ident} "${{PODNET_WINDOW:-0}}" {last}\n'
    )
    return "".join(parts)


def head_script(window: int, number: int | None) -> str:
    """Text before the staging.

    Args:
        window: seconds; without a commit within them the node goes back alone. 0: no limit.
        number: of the new generation; None when the definitions on the node stay.
    """
    return f"PODNET_WINDOW={window} PODNET_NUMBER={number or ''}\n"


def phase_script(ident: str, phase: str, commit: bool) -> str:
    """Text that runs one phase, and commits where nothing is to be waited for."""
    end = f" && {PROGRAM} commit {ident}" if commit else ""
    return f"{PROGRAM} apply {ident} {phase}{end}\n"


def _lines(commands: Iterable[object]) -> str:
    return "".join(f"{command or '-'}\n" for command in commands)


def _here(name: str, content: str) -> str:
    """A here-document whose delimiter cannot be a line of the content.

    dash (0.5.12) loses a byte that is not ASCII where it finds the delimiter's beginning and then
    that byte in a line, so the delimiter begins like no line that has one there."""
    digest = hashlib.sha256(content.encode()).hexdigest()[:24]
    risky = {line[:1] for line in content.split("\n") if not line[: len(digest) + 1].isascii()}
    first = next((letter for letter in string.ascii_uppercase if letter not in risky), "")
    delimiter = f"{first}_{digest}"
    body = content if content.endswith("\n") or not content else content + "\n"
    return f"cat > \"$stage/{name}\" <<'{delimiter}'\n{body}{delimiter}\n"


def end_script(ident: str, verb: str) -> str:
    """Text that ends a transaction that waits (``commit``, ``rollback``), or gives it its whole
    window once more (``hold``)."""
    return f"{PROGRAM} {verb} {ident}\n"


def clear_script() -> str:
    """Text that takes back what a run left that did not come to its end."""
    return f"{PROGRAM} rollback\n"


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
