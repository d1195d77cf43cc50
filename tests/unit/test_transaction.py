# SPDX-License-Identifier: GPL-3.0-or-later
"""Change sets → shell text: what travels arrives byte for byte, and nothing of it runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import transaction, workspace
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import Change, ChangeSet
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import Command
from fleets import HOSTILE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

UP = Change(Command("ip", "link set dev a up"), Command("ip", "link set dev a down"), "was down")
NEW = Change(Command("sysctl", "net/ipv4/ip_forward=1"), None, "was 0")
CHANGES = ChangeSet(add=(UP, NEW), remove=(UP,))
printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


def staged_by_shell(
    folder: Path, files: dict[str, str], changes: ChangeSet, number: int | None = 3
) -> dict[str, bytes]:
    """Run the staging text, with its folders below ``folder`` and a program that only keeps
    what it is given."""
    program = folder / "podnet-node"
    program.write_text(f'#!/bin/sh\n[ "$1" = begin ] && cp -r "$2" {folder}/kept\n')
    program.chmod(0o755)
    text = transaction.head_script(0, number)
    text += transaction.stage_script(transaction.Staged(files, 10, "run1"), changes)
    text += transaction.phase_script("run1", "add", commit=False)
    text = text.replace(transaction.PROGRAM, str(program)).replace("/etc/podnet", f"{folder}/etc")
    text = text.replace("/run/podnet", f"{folder}/run")
    done = subprocess.run(["sh", "-s"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done
    assert list((folder / "etc").glob("stage.*")) == [], "the stage folder stays behind"
    kept = folder / "kept"
    return {str(p.relative_to(kept)): p.read_bytes() for p in kept.rglob("*") if p.is_file()}


def test_every_file_and_line_arrives(tmp_path: Path) -> None:
    files = {"generation/a": "one\ntwo\n", "files/b": "", "c": "'$(reboot)' `x` \\ \" EOF\n"}
    found = staged_by_shell(tmp_path, files, CHANGES)
    assert {n: t for n, t in found.items() if n in files} == {
        n: t.encode() for n, t in files.items()
    }
    assert found["add.do"] == b"ip link set dev a up\nsysctl net/ipv4/ip_forward=1\n"
    assert found["add.undo"] == b"ip link set dev a down\n-\n"
    assert found["remove.do"].count(b"\n") == found["remove.undo"].count(b"\n") == 1
    assert "switch.do" not in found
    assert (found["number"], found["kept"]) == (b"3\n", b"10\n")


def test_bytes_that_are_not_ascii_arrive(tmp_path: Path) -> None:
    """Such as a shell uses for marks of its own."""
    every = "".join(f"{chr(n)}\\{chr(n)}'{chr(n)}\n" for n in range(1, 0x180) if n != ord("\n"))
    files = {"generation/every": every, "generation/none": ""}
    found = staged_by_shell(tmp_path, files, ChangeSet())
    assert {n: found[n] for n in files} == {n: t.encode() for n, t in files.items()}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(printable, st.sampled_from(HOSTILE[:11])), min_size=1, max_size=4))
def test_any_content_arrives_and_none_of_it_runs(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("node")
    files = {f"generation/f{i}": text.replace("\0", "") + "\n" for i, text in enumerate(texts)}
    found = staged_by_shell(folder, files, ChangeSet())
    assert {n: t for n, t in found.items() if n in files} == {
        n: t.encode() for n, t in files.items()
    }
    assert not Path("/tmp/pwned").exists()


def test_without_a_number_no_generation_is_written(tmp_path: Path) -> None:
    assert "number" not in staged_by_shell(tmp_path, {"generation/a": "x\n"}, CHANGES, None)


def test_undo_has_a_line_for_each_line() -> None:
    text = transaction.stage_script(transaction.Staged({}, 3, "run1"), CHANGES)
    assert text.count("link set dev a down") == 2


@pytest.mark.parametrize(
    ("line", "anew"),
    [
        ("ip route replace 10.64.2.0/24 via 192.0.2.2", False),
        ("ip neighbour replace 10.64.3.1 lladdr 02:00:00:00:00:01 dev pn64", False),
        ("bridge fdb replace 02:00:00:00:00:01 dev pn64 dst 192.0.2.3", False),
        ("element add vteps4 192.0.2.3", False),
        ("ip address replace 10.64.1.1/24 dev cbr0", True),
        ("ip link set dev pn64 up", True),
        ("sysctl net/ipv4/ip_forward=1", True),
        ("nft podnet.nft", True),
        ("accept ipv4", True),
        ("install files/podnet.service 0644 /etc/systemd/system/podnet.service", True),
    ],
)
def test_what_only_a_new_connection_can_prove(line: str, anew: bool) -> None:
    """One such line among others, in whichever phase, is enough."""
    tool, _space, args = line.partition(" ")
    harmless = Change(Command("ip", "route del 10.64.9.0/24"), None, "")
    change = Change(Command(tool, args), None, "")
    for phase in ("add", "switch", "remove"):
        changes = ChangeSet(**{phase: (harmless, change)})
        assert transaction.needs_new_connection(changes) is anew


OUTCOMES = [
    ("@@podnet applied\n", "applied", "", ""),
    ("noise\n@@podnet applied\n@@podnet committed\n", "committed", "", "noise"),
    (
        "RTNETLINK answers: x\n@@podnet failed ip route add y\n@@podnet undone\n",
        "undone",
        "ip route add y",
        "RTNETLINK answers: x",
    ),
    (
        "@@podnet failed nft podnet.nft\nstill there\n@@podnet broken\n",
        "broken",
        "nft podnet.nft",
        "still there",
    ),
    ("@@podnet failed a\n", "unknown", "a", ""),
    ("", "unknown", "", ""),
    ("sh: 1: not found\n", "unknown", "", "sh: 1: not found"),
]


@pytest.mark.parametrize(("output", "state", "command", "error"), OUTCOMES)
def test_outcome(output: str, state: str, command: str, error: str) -> None:
    assert transaction.outcome(output) == transaction.Outcome(state, command, error)


@given(st.text())
def test_outcome_of_anything_is_an_outcome(text: str) -> None:
    assert transaction.outcome(text).state


def test_shown_gives_command_and_reason() -> None:
    assert transaction.shown((UP,)) == ["ip link set dev a up    # was down"]


def test_the_node_program_is_posix_shell() -> None:
    for shell in ("sh", "dash", "bash --posix"):
        program = workspace.node_program()
        subprocess.run([*shell.split(), "-n"], input=program, text=True, check=True)


def test_what_the_node_program_takes_away_at_its_end_is_its_own() -> None:
    """Shell functions share their variables, and a word that came into one of these would be
    removed from wherever the program was called."""
    program = workspace.node_program()
    trap = re.search(r"trap '(rm -rf .*)' EXIT", program)
    assert trap
    names = re.findall(r"\$\{(\w+):\+", trap[1])
    assert len(names) == 2
    assert re.sub(r'\$\{(\w+):\+"\$\1"\}|"\$run/lock"', "", trap[1]).split() == ["rm", "-rf"]
    for name in names:
        found = set(re.findall(rf"\b{name}=(\S*)", program))
        assert found <= {"''", "", "$root/txn.old", "$run/timer"}, found


def test_a_password_waits_where_root_alone_can_read_it(tmp_path: Path) -> None:
    staged = transaction.Staged({"files/password": "secret\n", "files/other": "text\n"}, 3, "run1")
    text = transaction.stage_script(staged, ChangeSet())
    for place in ("/etc/podnet", "/run/podnet", "/usr/local/sbin"):
        text = text.replace(place, f"{tmp_path}{place}")
    # The folder is taken away at the end of the text, unless it was handed over.
    text += 'cd "$stage/files"; stat -c "%a %n" *'
    said = subprocess.run(["sh"], input=text, text=True, capture_output=True, check=True).stdout
    assert said.splitlines() == ["644 other", "600 password"]
