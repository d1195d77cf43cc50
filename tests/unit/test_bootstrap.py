# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bare node lacks, and the texts that install it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.bootstrap import (
    FRR,
    PACKAGES,
    PLUGINS,
    Found,
    Source,
    by_hand,
    check,
    found,
    install_script,
    look_script,
    packages,
    still_missing,
    told,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.cni_install import RefusedError
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.preflight import preflight_nothing

# A package manager that says what it was asked for, and what its last arguments hold.
FAKE = """#!/bin/sh
echo "$(basename "$0")" "$@" | sed "s#$TMPDIR/[^/ ]*#T#g"
for last in "$@"; do case $last in *.deb | *.rpm) cat "$last"; echo ;; esac; done
for word in "$@"; do case $word in *SourceList=*) cat "${word#*SourceList=}" ;; esac; done
"""


def run(text: bytes, folder: Path, *programs: str) -> list[str]:
    """Lines that the text prints where only these package managers are found."""
    bin_dir = folder / "bin"
    bin_dir.mkdir()
    for name in programs:
        (bin_dir / name).write_text(FAKE, encoding="utf-8")
        (bin_dir / name).chmod(0o755)
    environment = {"PATH": f"{bin_dir}:/usr/bin:/bin", "TMPDIR": str(folder)}
    done = subprocess.run(
        ["sh", "-s"], input=text, env=environment, capture_output=True, check=True
    )
    assert [path.name for path in folder.iterdir()] == ["bin"], "something is left behind"
    return done.stdout.decode().splitlines()


def test_a_node_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "bridge").touch(mode=0o755)
    text = look_script(str(tmp_path), python=True)
    # An empty PATH: the text adds only the folders of system programs.
    text = text.replace("PATH=$PATH:/usr/sbin:/sbin", f"PATH={tmp_path}")
    done = subprocess.run(["/bin/sh", "-s"], input=text, capture_output=True, text=True, check=True)
    seen = found(done.stdout)
    assert seen == Found("none", tuple(name for name in PACKAGES if name != "bridge"))
    (tmp_path / "bridge").unlink()
    again = subprocess.run(
        ["/bin/sh", "-s"], input=text, capture_output=True, text=True, check=True
    )
    assert found(again.stdout).missing == (*PACKAGES, PLUGINS)


def test_plugins_that_another_runtime_brings_are_not_asked_for() -> None:
    assert "/bridge" in look_script("/x", python=True)
    assert "plugins" not in look_script("", python=True)


def test_without_python_it_is_not_asked_for() -> None:
    assert "python3" in look_script("/x", python=True)
    assert "python3" not in look_script("/x", python=False)


@pytest.mark.parametrize(
    ("manager", "expected"),
    [
        ("apt", ("iproute2", "mawk", "containernetworking-plugins")),
        ("dnf", ("iproute", "gawk", "containernetworking-plugins")),
    ],
)
def test_each_package_once(manager: str, expected: tuple[str, ...]) -> None:
    assert packages(Found(manager, ("ip", "bridge", "awk", PLUGINS))) == expected


def test_no_package_manager_is_one_clear_error() -> None:
    with pytest.raises(RefusedError, match=r"apt-get or dnf, found neither; install by hand: nft"):
        packages(Found("none", ("nft",)))


def test_an_answer_that_is_none() -> None:
    with pytest.raises(RefusedError, match="expected manager="):
        found("This account is not available.\n")


def test_by_name_from_the_nodes_own_repositories(tmp_path: Path) -> None:
    lines = run(install_script("apt", ["nftables", "mawk"], Source()), tmp_path, "apt-get")
    assert lines == [
        "apt-get -q update",
        "apt-get -q -y --no-install-recommends install nftables mawk",
    ]


def test_dnf_by_name(tmp_path: Path) -> None:
    lines = run(install_script("dnf", ["nftables"], Source()), tmp_path, "dnf")
    assert lines == ["dnf -q -y install nftables"]


def test_from_another_repository_and_no_other(tmp_path: Path) -> None:
    entry = "deb [trusted=yes] http://mirror.example/debian bookworm main"
    lines = run(install_script("apt", ["mawk"], Source(entry)), tmp_path, "apt-get")
    options = "-o Dir::Etc::SourceList=T/sources.list -o Dir::Etc::SourceParts=T/none"
    options += " -o Dir::State::Lists=T/lists"
    assert lines[0] == f"apt-get {options} -q update"
    assert lines[1] == entry
    assert lines[2] == f"apt-get {options} -q -y --no-install-recommends install mawk"


def test_dnf_from_another_repository(tmp_path: Path) -> None:
    text = install_script("dnf", ["nftables"], Source("http://mirror.example/9"))
    assert run(text, tmp_path, "dnf") == [
        "dnf --repofrompath=podnet,http://mirror.example/9 --repo=podnet --nogpgcheck "
        "-q -y install nftables"
    ]


@pytest.mark.parametrize("manager", ["apt", "dnf"])
def test_files_travel_in_the_text(tmp_path: Path, manager: str) -> None:
    suffix, program = {"apt": ("deb", "apt-get"), "dnf": ("rpm", "dnf")}[manager]
    files = {f"a_1%3a2.{suffix}": b"first", f"b-2.{suffix}": b"\x00second" * 100}
    lines = run(install_script(manager, ["a"], Source(files=files)), tmp_path, program)
    assert lines[0].startswith(f"{program} {'-o Dir' if manager == 'apt' else '--disable'}")
    assert lines[0].endswith(f"install T/a_1%3a2.{suffix} T/b-2.{suffix}")
    assert lines[1] == "first"
    assert lines[2].encode() == b"\x00second" * 100


@pytest.mark.parametrize(
    "source",
    [
        Source("deb http://x/ y main\nevil"),
        Source("deb 'http://x/'"),
        Source(files={"../x.deb": b""}),
        Source(files={"x.tar": b""}),
        Source(files={"-x.deb": b""}),
    ],
)
def test_what_is_no_source_is_refused(source: Source) -> None:
    with pytest.raises(RefusedError, match="podnet_bootstrap_"):
        check(source)


def test_frr_is_asked_for_and_its_own_service_kept_quiet() -> None:
    assert "bgpd" in look_script("/x", python=True, frr=True)
    assert "bgpd" not in look_script("/x", python=True)
    names = packages(Found("apt", (FRR,)))
    assert names == ("frr", "frr-pythontools")
    text = install_script("apt", names, Source()).decode()
    order = ["exit 101", "apt-get -q -y", "systemctl -q disable frr.service"]
    assert sorted(order, key=text.index) == order
    # Also where it comes by the way, in a folder of files.
    files = {"frr_8.4_amd64.deb": b""}
    assert b"exit 101" in install_script("apt", ["mawk"], Source(files=files))
    assert b"exit 101" not in install_script("apt", ["mawk"], Source())


def test_a_program_that_is_missing_has_its_own_package() -> None:
    assert by_hand(["nft"]) == "nftables"
    assert by_hand(["awk"]) == "mawk (Fedora, RHEL: gawk)"
    assert (
        by_hand(["ip", "bridge", "nft"]) == "iproute2, nftables (Fedora, RHEL: iproute, nftables)"
    )
    (problem,) = preflight_nothing("node-1", State(missing_tools=("awk",)))
    assert problem.found == "no awk"
    remedy = "run podnet.fabric.bootstrap, or install mawk (Fedora, RHEL: gawk)"
    assert problem.remedy == remedy


def test_a_line_says_whose_packages_and_whether_they_are_installed() -> None:
    assert told("gamma", ["nft"], ["nftables"], True) == "gamma lacks nft: would install nftables"
    assert told("gamma", ["nft"], ["nftables"], False) == "gamma lacked nft: installed nftables"


@pytest.mark.parametrize(
    ("left", "where", "remedy"),
    [
        ("python3", "node-1: PATH", "reinstall python3: the package is there"),
        (PLUGINS, "node-1: podnet_cni_bin_dir /x", "reinstall containernetworking-plugins: "),
        (FRR, "node-1: /usr/lib/frr", "reinstall frr, frr-pythontools: "),
    ],
)
def test_what_is_missing_after_an_installation_says_what_to_do(
    left: str, where: str, remedy: str
) -> None:
    (problem,) = still_missing("node-1", [left], ["python3", "nftables"], "/x", False)
    assert problem.where == where and problem.remedy.startswith(remedy)
    assert problem.what == "still missing after the installation of python3, nftables"
    assert ("podnet_cni_bin_dir" in problem.remedy) == (left == PLUGINS)
    (sent,) = still_missing("node-1", [left], ["nftables"], "/x", True)
    assert "to podnet_bootstrap_files" in sent.remedy
    assert len(still_missing("node-1", ["nft", PLUGINS, FRR], ["nftables"], "/x", False)) == 3
