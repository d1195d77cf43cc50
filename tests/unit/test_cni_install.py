# SPDX-License-Identifier: GPL-3.0-or-later
"""CNI plugins for a node: what is taken, what is refused, and what the shell makes of it."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.action import cni_plugins as action
from ansible_collections.podnet.fabric.plugins.plugin_utils import cni_install
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import Workspace
from fleets import HOSTILE

# Debian's, that of Red Hat's family, and that of small systems: they read a script differently.
SHELLS = (["dash", "-s"], ["bash", "--posix", "-s"], ["busybox", "sh", "-s"])
PLUGIN = b"#!/bin/sh\necho plugin\n" + bytes(range(256)) * 400


def archive(**more: bytes) -> bytes:
    """Two programs, a text, a folder, and links out of the archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, mode in (("bridge", 0o755), ("host-local", 0o4775), ("LICENSE", 0o644)):
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode, info.uid = len(PLUGIN), mode, 1000
            tar.addfile(info, io.BytesIO(PLUGIN))
        for name, kind in (("link", tarfile.SYMTYPE), ("zfolder", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.linkname, info.mode = kind, "../../../victim", 0o755
            tar.addfile(info)
    return stream.getvalue()


def run(shell: list[str], text: bytes) -> subprocess.CompletedProcess[bytes]:
    """Piped, as ssh gives it. chown needs root; what it would do the network tests look at."""
    harmless = b"chown() { :; }\n" + text
    return subprocess.run(shell, input=harmless, capture_output=True, check=False)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_only_programs_are_installed(tmp_path: Path, shell: list[str]) -> None:
    folder, victim = tmp_path / "opt" / "cni bin", tmp_path / "victim"
    victim.write_text("secret", encoding="utf-8")
    victim.chmod(0o700)
    done = run(shell, cni_install.archive_script(archive(), str(folder)))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done
    assert {path.name: path.stat().st_mode & 0o7777 for path in folder.iterdir()} == {
        "bridge": 0o755,
        "host-local": 0o755,
    }
    assert (folder / "bridge").read_bytes() == PLUGIN
    assert victim.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_half_an_archive_changes_nothing(tmp_path: Path, shell: list[str]) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bridge").write_bytes(b"old")
    half = archive()[:-600]
    done = run(shell, cni_install.archive_script(half, str(folder)))
    assert done.returncode != 0
    assert [path.name for path in folder.iterdir()] == ["bridge"]
    assert (folder / "bridge").read_bytes() == b"old"


@pytest.mark.parametrize(
    "name", ["containernetworking-plugins", "cni=1.1.1+ds1-3+b1", "lib32stdc++6", "a"]
)
def test_a_package_is_one_word_for_the_shell(name: str, tmp_path: Path) -> None:
    said, fake = tmp_path / "said", tmp_path / "apt-get"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{said}\n', encoding="utf-8")
    fake.chmod(0o755)
    text = f"PATH={tmp_path}:$PATH\n".encode() + cni_install.package_script(name)
    subprocess.run(["sh", "-s"], input=text, check=True, capture_output=True)
    words = said.read_text(encoding="utf-8").split("\n")
    assert words[-2:] == [name, ""] and "install" in words


@pytest.mark.parametrize(
    "name",
    # "aaa…" among them is long, and a name all the same.
    [text for text in HOSTILE if not text.startswith("aa")]
    + ["-oDPkg::Pre-Invoke=x", "--allow-unauthenticated", "cni-", "./x.deb", "a b", "\n", "a\n"],
)
def test_what_is_no_package_is_refused(name: str) -> None:
    with pytest.raises(cni_install.RefusedError, match="podnet_cni_package") as caught:
        cni_install.package_script(name)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("src", "sha256", "words"),
    [
        ("", "", "no archive and no checksum"),
        ("a.tgz", "", "a.tgz and no checksum"),
        ("", "a" * 64, "no archive"),
        ("a.tgz", "a" * 63, "64 hexadecimal digits"),
        ("a.tgz", "../../../etc/passwd", "64 hexadecimal digits"),
        ("a.tgz", "sha256:" + "a" * 64, "64 hexadecimal digits"),
    ],
)
def test_no_archive_without_its_checksum(src: str, sha256: str, words: str) -> None:
    with pytest.raises(cni_install.RefusedError, match=words):
        cni_install.checksum(src, sha256)


def test_a_file_is_compared_each_time(tmp_path: Path) -> None:
    path, workspace = tmp_path / "a.tgz", Workspace(str(tmp_path))
    path.write_bytes(archive())
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    assert cni_install.checksum("a.tgz", wanted.upper()) == wanted
    assert action._archive(str(path), wanted, workspace) == path.read_bytes()
    path.write_bytes(archive() + b"x")
    with pytest.raises(cni_install.RefusedError, match=f"Expected SHA-256 {wanted}, found"):
        action._archive(str(path), wanted, workspace)


def test_a_download_is_compared_and_kept(tmp_path: Path) -> None:
    source, workspace = tmp_path / "a.tgz", Workspace(str(tmp_path))
    source.write_bytes(archive())
    url, wanted = source.as_uri(), hashlib.sha256(source.read_bytes()).hexdigest()
    with pytest.raises(cni_install.RefusedError):
        action._archive(url, "0" * 64, workspace)
    assert not (workspace.state / "downloads").exists(), "nothing is kept that was refused"
    assert action._archive(url, wanted, workspace) == source.read_bytes()
    kept = workspace.state / "downloads" / wanted
    # One that somebody changed on the controller is not sent to a node.
    kept.write_bytes(b"changed")
    assert action._archive(url, wanted, workspace) == source.read_bytes()
    assert kept.read_bytes() == source.read_bytes()
    source.unlink()
    assert action._archive(url, wanted, workspace) == kept.read_bytes()
