# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes without iproute2, nftables and CNI plugins become ready, by real apt and real packages.

The packages are packed from what this machine has installed, as nothing may be fetched here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, Spec

NAMES = ("nftables", "containernetworking-plugins")
# The files of an installed package and its control data, packed again.
PACK = r"""set -e
mkdir -p "$2/DEBIAN"
dpkg-query -s "$1" | sed '/^Status:/d; /^Conffiles:/,/^[^ ]/{/^Conffiles:/d; /^ /d}' \
  >"$2/DEBIAN/control"
dpkg -L "$1" | while read -r path; do
  if [ -d "$path" ]; then mkdir -p "$2$path"; else cp -a "$path" "$2$path"; fi
done
dpkg-deb --root-owner-group --build "$2" "$3"
"""
# Nor anything that apt could take from this machine's cache, or try to fetch.
BARE = f"""set -e
dpkg --force-depends --remove {" ".join(NAMES)} >/dev/null
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/nowhere ./' >/etc/apt/sources.list
apt-get -q -y --fix-broken install >/dev/null 2>&1 # what needed them goes too
! command -v nft"""
# A repository as apt reads it from a folder.
INDEX = r"""cd /srv && for f in *.deb; do
  dpkg-deb -f "$f"; echo "Filename: ./$f"; echo "Size: $(wc -c <"$f")"
  echo "SHA256: $(sha256sum "$f" | cut -d' ' -f1)"; echo
done >Packages"""


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("debs")
    for name in NAMES:
        tree, target = folder / "tree" / name, folder / "debs" / f"{name}.deb"
        tree.mkdir(parents=True)
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["sh", "-c", PACK, "pack", name, str(tree), str(target)], check=True)
    return folder / "debs"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    spec = Spec(segments={"rack-a": 2})
    with Fleet(tmp_path_factory.mktemp("bootstrap"), spec, "bootstrap") as fleet:
        for node in fleet.nodes:
            fleet.ssh(node, BARE)
        yield fleet


def test_without_packages_and_network_it_is_one_clear_error(bare: Fleet) -> None:
    refused = bare.play("bootstrap", "--limit", "node-1")
    assert refused.returncode
    assert "the packages cannot be installed" in refused.stdout
    bare.ssh("node-1", "! command -v nft")


def test_check_mode_says_what_it_would_do(bare: Fleet, debs: Path) -> None:
    said = bare.play(
        "bootstrap", "--check", "-e", json.dumps({"podnet_bootstrap_files": [str(debs)]})
    )
    assert said.returncode == 0, said.stdout
    assert "lacked nft, CNI plugins; installed: nftables, containernetworking-plugins" in " ".join(
        said.stdout.split()
    )
    bare.ssh("node-1", "! command -v nft")


def test_from_files_and_from_a_repository_nodes_become_ready(bare: Fleet, debs: Path) -> None:
    files = json.dumps({"podnet_bootstrap_files": [str(debs)]})
    bare.play("bootstrap", "--limit", "node-1", "-e", files, check=True)
    for path in debs.iterdir():
        argv = ["ssh", "-F", str(bare.ssh_config), "node-2", f"cat >/srv/{path.name}"]
        subprocess.run(argv, input=path.read_bytes(), check=True)
    bare.ssh("node-2", INDEX)
    repository = json.dumps({"podnet_bootstrap_repository": "deb [trusted=yes] file:/srv ./"})
    bare.play("bootstrap", "--limit", "node-2", "-e", repository, check=True)
    for node in bare.nodes:
        assert bare.ssh(node, "nft list tables; ls /usr/lib/cni/bridge").strip()
    again = bare.play("bootstrap", check=True)
    assert "changed" not in again.stdout.partition("summary")[2], again.stdout
    bare.play("converge", check=True)
