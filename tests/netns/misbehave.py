# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for a node's tools, first in PATH, that count their calls and misbehave at one."""

from __future__ import annotations

from collections.abc import Iterable

from netnode import NetNode

FOLDER = "/run/bin"
FIRST = f"PATH={FOLDER}:$PATH; export PATH\n"
NETWORK = ("ip", "bridge", "nft")
# Everything that podnet-node calls.
ALL = (*NETWORK, "cp", "mv", "rm", "ln", "mkdir", "chmod", "cat", "awk", "sed", "head", "sha256sum")

# `$n`: calls of all tools; `$t`: calls of this one; `$batch`: its last argument.
WRAPPER = r"""#!/bin/sh
PATH=${PATH#FOLDER:}
echo TOOL >>/run/calls; n=$(wc -l </run/calls); t=$(grep -c '^TOOL$' /run/calls)
for batch; do :; done
kill_program() {
  p=$PPID; pids=
  while tr '\0' ' ' <"/proc/$p/cmdline" | grep -q -e podnet-node -e '^sh -s'; do
    pids="$pids $p"; p=$(awk '/^PPid/ { print $2 }' "/proc/$p/status")
  done
  [ -z "$pids" ] || { kill -9 $pids; exit 137; }
}
MISBEHAVE
PATH=FOLDER:$PATH exec "$(PATH=${PATH#FOLDER:} command -v TOOL)" "$@"
"""
# Where a batch holds the marked line, the lines before it are run, and then all is over.
AT_MARK = r"""if [ -f "$batch" ] && grep -q 'dev killme' "$batch" 2>/dev/null; then
  sed '/dev killme/,$d' "$batch" >/run/part; TOOL -batch /run/part; kill_program
fi"""


def misbehave(node: NetNode, how: str, tools: Iterable[str] = NETWORK) -> None:
    """From now on, for what runs after `FIRST`. Calls are counted from 0 again."""
    parts = [f"rm -rf {FOLDER} /run/calls; mkdir -p {FOLDER}; : >/run/calls\n"]
    for tool in tools:
        text = WRAPPER.replace("MISBEHAVE", how).replace("TOOL", tool).replace("FOLDER", FOLDER)
        parts.append(f"cat >{FOLDER}/{tool} <<'END_OF_TOOL'\n{text}END_OF_TOOL\n")
    node.sh("".join(parts) + f"chmod 755 {FOLDER}/*\n")


def calls(node: NetNode) -> int:
    return int(node.sh("wc -l </run/calls"))


def mark(phase: str, line: int) -> str:
    """Shell text after the staging: the program is killed at this line of the phase."""
    return (
        f'cd $stage; sed -i "{line}i ip link set dev killme up" {phase}.do\n'
        f'sed -i "{line}i -" {phase}.undo; cd /\n'
    )
