# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's folder: one run at a time, and nothing of an earlier one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.numbers import Numbers
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import (
    Workspace,
    WorkspaceError,
)


def test_a_folder_takes_one_run_at_a_time(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        Workspace(str(tmp_path)).begin(other.pid)
        with pytest.raises(WorkspaceError, match=f"process {other.pid}"):
            Workspace(str(tmp_path)).begin(os.getpid())
        Workspace(str(tmp_path)).begin(other.pid)
    finally:
        other.kill()
        other.wait()
    Workspace(str(tmp_path)).begin(os.getpid())


def test_a_plan_is_that_of_the_run_that_took_the_folder(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    with pytest.raises(WorkspaceError, match="none at all"):
        workspace.insist_on_plan(os.getpid())
    (tmp_path / ".podnet").mkdir()
    (tmp_path / ".podnet" / "lock").write_text(f"{os.getppid()} 1\n")
    with pytest.raises(WorkspaceError, match="another run"):
        workspace.insist_on_plan(os.getpid())
    workspace.begin(os.getpid())
    workspace.insist_on_plan(os.getpid())


@pytest.mark.parametrize("text", ["", "garbage", f"{os.getppid()} 1\n"])
def test_a_lock_of_nobody_keeps_nobody_out(tmp_path: Path, text: str) -> None:
    (tmp_path / ".podnet").mkdir()
    (tmp_path / ".podnet" / "lock").write_text(text)
    Workspace(str(tmp_path)).begin(os.getpid())


def test_a_run_begins_with_nothing_of_the_last_one(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    workspace.save_run("node-1", {"window": 9, "ident": "0a1b"})
    workspace.begin(os.getpid())
    assert not workspace.has_run("node-1")
    workspace.save_run("node-2", {"ident": "2c3d"})
    assert workspace.is_over("0a1b") and not workspace.is_over("2c3d")
    assert not workspace.is_over("another run's") and not workspace.is_over("")
    workspace.begin(os.getpid())
    assert workspace.is_over("0a1b") and workspace.is_over("2c3d")


def test_numbers_of_generations_outlive_a_run(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    assert workspace.numbers() == Numbers()
    numbers = Numbers(61, "7 1", {60: frozenset({"node-1"}), 61: frozenset({"node-2", "node-3"})})
    workspace.save_numbers(numbers)
    workspace.begin(os.getpid())
    assert workspace.numbers() == numbers


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"last": 1, "run": "", "given": {"a": []}}'])
def test_numbers_that_are_none_are_told_with_the_file(tmp_path: Path, text: str) -> None:
    workspace = Workspace(str(tmp_path))
    workspace.save_numbers(Numbers())
    (tmp_path / ".podnet" / "numbers.json").write_text(text)
    with pytest.raises(WorkspaceError, match=r"numbers\.json: .*; remove it"):
        workspace.numbers()


@pytest.mark.parametrize("host", ["../../victim", "../victim", "a/../../../victim"])
def test_no_name_of_a_host_leads_out_of_the_folder(tmp_path: Path, host: str) -> None:
    workspace = Workspace(str(tmp_path / "work"))
    with pytest.raises(WorkspaceError, match="outside"):
        workspace.save(f"run/history/{host}.json", {})
    with pytest.raises(WorkspaceError, match="outside"):
        workspace.load(f"observed/start/{host}.json", "")
    with pytest.raises(WorkspaceError, match="outside"):
        workspace.has_run(host)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_of_another_user_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root every folder can be written, so the kernel's answer is put in its place."""

    def refused(*_args: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / ".podnet"))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(WorkspaceError) as error:
        Workspace(str(tmp_path)).begin(1)
    for word in (str(tmp_path / ".podnet"), "expected:", "found:", "podnet_output_dir"):
        assert word in str(error.value)
