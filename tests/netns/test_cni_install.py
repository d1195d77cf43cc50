# SPDX-License-Identifier: GPL-3.0-or-later
"""Missing CNI plugins: refused, or installed from an archive that is what it should be."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, Spec

BIN = "/opt/podnet-test/bin"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The distribution's own plugins, packed as the project's releases are."""
    path = tmp_path_factory.mktemp("cni") / "cni-plugins.tgz"
    subprocess.run(["tar", "-czf", str(path), "-C", "/usr/lib/cni", "."], check=True)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    spec = Spec(segments={"rack-a": 2}, extra={"podnet_cni_bin_dir": BIN})
    with Fleet(tmp_path_factory.mktemp("install"), spec, "install") as fleet:
        yield fleet


def run(fleet: Fleet, playbook: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return fleet.play(playbook, "-e", json.dumps(variables))


def test_missing_plugins_are_one_problem_before_anything_is_touched(fleet: Fleet) -> None:
    refused = run(fleet, "converge", podnet_cni_install="none")
    assert refused.returncode
    assert "2 problems in the nodes; no node was touched" in refused.stdout
    for node in fleet.nodes:
        assert f"{node}: podnet_cni_bin_dir {BIN}: CNI plugins are missing" in refused.stdout
    for node in fleet.nodes:
        assert "cbr0" not in fleet.ssh(node, "ip -br link")
        assert fleet.ssh(node, "ls /etc/podnet 2>/dev/null; true") == ""


def test_archive_with_another_checksum_is_refused(fleet: Fleet, archive: tuple[Path, str]) -> None:
    refused = run(
        fleet,
        "converge",
        podnet_cni_install="tarball",
        podnet_cni_tarball=str(archive[0]),
        podnet_cni_tarball_sha256="0" * 64,
    )
    assert refused.returncode
    assert f"found {archive[1]}" in refused.stdout
    assert "cbr0" not in fleet.ssh("node-1", "ip -br link")


def test_archive_is_installed_and_pods_work(fleet: Fleet, archive: tuple[Path, str]) -> None:
    given = {
        "podnet_cni_install": "tarball",
        "podnet_cni_tarball": str(archive[0]),
        "podnet_cni_tarball_sha256": archive[1],
    }
    first = run(fleet, "site", **given)
    assert first.returncode == 0, first.stdout
    assert "2 of 2 pairs verified" in first.stdout
    owned = fleet.ssh("node-1", f"stat -c '%U %a' {BIN}/bridge {BIN}/host-local")
    assert owned.split() == ["root", "755", "root", "755"]
    again = run(fleet, "converge", **given)
    assert "0 to change" in again.stdout
