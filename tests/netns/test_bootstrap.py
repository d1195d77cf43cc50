# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes without iproute2, nftables, CNI plugins and FRR become ready, by real package managers.

node-1 and node-2 have apt, node-3 and node-4 dnf alone. The packages are made of
what this machine has installed, as nothing may be fetched here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, Spec

NAMES = ("nftables", "containernetworking-plugins")
# For mode bgp, on the nodes with apt. Its package starts a service, so it comes with its scripts.
FRR = ("frr", "frr-pythontools")
# The files of an installed package and its control data, packed again.
PACK = r"""set -e
mkdir -p "$2/DEBIAN"
dpkg-query -s "$1" | sed '/^Status:/d; /^Conffiles:/,/^[^ ]/{/^Conffiles:/d; /^ /d}' \
  >"$2/DEBIAN/control"
dpkg -L "$1" | while read -r path; do
  if [ -d "$path" ]; then mkdir -p "$2$path"; else cp -a "$path" "$2$path"; fi
done
for s in postinst prerm postrm; do
  if [ -e "/var/lib/dpkg/info/$1.$s" ]; then cp -p "/var/lib/dpkg/info/$1.$s" "$2/DEBIAN/$s"; fi
done
dpkg-deb -Zgzip -z1 --root-owner-group --build "$2" "$3"
"""
RPM = r"""set -e
dpkg -L "$1" | while read -r path; do
  if [ ! -d "$path" ]; then mkdir -p "$2$(dirname "$path")"; cp -a "$path" "$2$path"; fi
done
cat >"$2.spec" <<END
%global debug_package %{nil}
%global __os_install_post %{nil}
Name: $1
Version: 1
Release: 1
Summary: As installed here
License: as Debian says
AutoReqProv: no
%description
As installed here.
%files
$(cd "$2" && find . ! -type d | sed 's/^\.\(.*\)/"\1"/')
END
rpmbuild --quiet -bb --buildroot "$2" --define "_rpmdir $3" --define '_build_name_fmt %{NAME}.rpm' \
  "$2.spec"
"""
# Nor anything that apt could take from this machine's cache, or try to fetch.
BARE = f"""set -e
dpkg --force-depends --purge {" ".join((*NAMES, *FRR))} >/dev/null 2>&1
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/nowhere ./' >/etc/apt/sources.list
apt-get -q -y --fix-broken install >/dev/null 2>&1 # what needed them goes too
! command -v nft; ! [ -e /usr/lib/frr/bgpd ]"""
# The host's own FRR neither runs nor starts at boot, and nothing else is kept from starting.
NO_SERVICE = """ls /usr/lib/frr/bgpd /usr/lib/frr/frr-reload.py
! pidof zebra watchfrr staticd
! ls /etc/systemd/system/multi-user.target.wants/frr.service /usr/sbin/policy-rc.d 2>/dev/null"""
# What an earlier try leaves that was killed.
KILLED = r"printf '#!/bin/sh\n# podnet.fabric.bootstrap\nexit 101\n' >/usr/sbin/policy-rc.d"
NO_APT = "rm /usr/bin/apt-get; ! command -v apt-get; command -v dnf"
APT, DNF = ("node-1", "node-2"), ("node-3", "node-4")
# A repository as apt reads it from a folder.
INDEX = r"""cd /srv && for f in *.deb; do
  dpkg-deb -f "$f"; echo "Filename: ./$f"; echo "Size: $(wc -c <"$f")"
  echo "SHA256: $(sha256sum "$f" | cut -d' ' -f1)"; echo
done >Packages"""


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("debs")
    for name in (*NAMES, *FRR):
        tree, target = folder / "tree" / name, folder / "debs" / f"{name}.deb"
        tree.mkdir(parents=True)
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["sh", "-c", PACK, "pack", name, str(tree), str(target)], check=True)
    return folder / "debs"


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RPMs of the same names and files, and the index of a repository."""
    folder = tmp_path_factory.mktemp("rpms")
    for name in NAMES:
        argv = ["sh", "-c", RPM, "pack", name, str(folder / name), str(folder / "rpms")]
        (folder / name).mkdir()
        subprocess.run(argv, check=True)
    subprocess.run(["createrepo_c", "-q", str(folder / "rpms")], check=True)
    return folder / "rpms"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    spec = Spec(segments={"rack-a": 4})
    with Fleet(tmp_path_factory.mktemp("bootstrap"), spec, "bootstrap") as fleet:
        for node in fleet.nodes:
            fleet.ssh(node, BARE)
        for node in DNF:
            fleet.ssh(node, NO_APT)
        fleet.ssh(APT[0], KILLED)
        yield fleet


def test_without_packages_and_network_it_is_one_clear_error(bare: Fleet) -> None:
    for node in ("node-1", "node-3"):
        refused = bare.play("bootstrap", "--limit", node)
        assert refused.returncode
        assert "the packages cannot be installed" in refused.stdout
        bare.ssh(node, "! command -v nft")


def test_check_mode_says_what_it_would_do(bare: Fleet, debs: Path) -> None:
    extra = {"podnet_bootstrap_files": [str(debs)], "podnet_mode": "bgp"}
    said = bare.play("bootstrap", "--check", "-e", json.dumps(extra))
    assert said.returncode == 0, said.stdout
    told = " ".join(said.stdout.split())
    names = "nftables, containernetworking-plugins, frr, frr-pythontools"
    for node in bare.nodes:
        assert f"{node} lacks nft, CNI plugins, FRR: would install {names}" in told
    bare.ssh("node-1", "! command -v nft")


def put(fleet: Fleet, node: str, folder: Path) -> None:
    """A folder's content, into /srv of a node."""
    packed = subprocess.run(["tar", "-C", str(folder), "-c", "."], capture_output=True, check=True)
    argv = ["ssh", "-F", str(fleet.ssh_config), node, "tar -C /srv -x"]
    subprocess.run(argv, input=packed.stdout, check=True)


def test_from_files_and_from_a_repository_nodes_become_ready(
    bare: Fleet, debs: Path, rpms: Path
) -> None:
    url = {"apt": "deb [trusted=yes] file:/srv ./", "dnf": "file:///srv"}
    for manager, (first, second), folder in (("apt", APT, debs), ("dnf", DNF, rpms)):
        files = [str(path) for path in sorted(folder.iterdir()) if path.is_file()]
        mode = "bgp" if manager == "apt" else "auto"
        extra = json.dumps({"podnet_bootstrap_files": files, "podnet_mode": mode})
        bare.play("bootstrap", "--limit", first, "-e", extra, check=True)
        put(bare, second, folder)
        if manager == "apt":
            bare.ssh(second, INDEX)
        extra = json.dumps({"podnet_bootstrap_repository": url[manager], "podnet_mode": mode})
        bare.play("bootstrap", "--limit", second, "-e", extra, check=True)
    for node in bare.nodes:
        assert bare.ssh(node, "nft list tables; ls /usr/lib/cni/bridge").strip()
    for node in APT:
        assert bare.ssh(node, NO_SERVICE).split()[0] == "/usr/lib/frr/bgpd"
    for node in DNF:
        assert set(bare.ssh(node, "rpm -qa --qf '%{NAME}\\n'").split()) == set(NAMES)
    again = bare.play("bootstrap", check=True)
    assert "changed" not in again.stdout.partition("summary")[2], again.stdout
    bare.play("converge", check=True)
