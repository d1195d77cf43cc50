# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys of real SSH servers on the loopback, pinned, changed, unknown and silent."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import run_ansible

KINDS = ("ed25519", "ecdsa", "rsa")


class Server:
    """One sshd with host keys of several types."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.process = folder, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        for kind in KINDS:
            self.make(kind)
        self.start()

    def make(self, kind: str) -> None:
        path = self.folder / kind
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)

    def fingerprint(self, kind: str) -> str:
        command = ["ssh-keygen", "-lf", self.folder / f"{kind}.pub"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]

    def start(self) -> None:
        text = "".join(f"HostKey {self.folder / kind}\n" for kind in KINDS)
        text += f"ListenAddress 127.0.0.1\nPort {self.port}\nPidFile none\nUsePAM no\n"
        path = self.folder / "sshd_config"
        path.write_text(text, encoding="utf-8")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(path)]
        self.process: Any = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _time in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("sshd did not come up")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Scene:
    """Two servers, an inventory that names them, and a known_hosts with a line of somebody else."""

    OTHERS = "# mine\n|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|BBBBBBBBBBBBBBBBBBBBBBBBBBB= ssh-rsa AAAA\n"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = {name: Server(folder / name) for name in ("one", "two")}
        self.known = folder / "known_hosts"
        self.known.write_text(self.OTHERS, encoding="utf-8")

    def run(self, pins: dict[str, list[str]], *arguments: str) -> subprocess.CompletedProcess[str]:
        hosts = {
            name: {"ansible_host": "127.0.0.1", "ansible_port": server.port}
            | ({"podnet_host_key_fingerprints": pins[name]} if name in pins else {})
            for name, server in self.servers.items()
        }
        data = {"podnet": {"vars": {"podnet_known_hosts": str(self.known)}, "hosts": hosts}}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(data), encoding="utf-8")
        command = ["ansible-playbook", "-i", "hosts.yml", "podnet.fabric.host_keys", *arguments]
        return run_ansible(self.folder, command)

    def lines(self) -> list[str]:
        return self.known.read_text(encoding="utf-8").removeprefix(self.OTHERS).splitlines()

    def ssh_accepts(self, name: str) -> bool:
        """Whether ssh itself gets past the host key; nobody can log in there."""
        options = ["StrictHostKeyChecking=yes", f"UserKnownHostsFile={self.known}", "BatchMode=yes"]
        flags = [word for option in options for word in ("-o", option)]
        port = str(self.servers[name].port)
        command = ["ssh", "-F", "none", *flags, "-p", port, "nobody@127.0.0.1", "true"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        return "Permission denied" in said and "verification failed" not in said


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    for server in scene.servers.values():
        server.stop()


def pins(scene: Scene, kind: str = "ed25519") -> dict[str, list[str]]:
    return {name: [server.fingerprint(kind)] for name, server in scene.servers.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_pinned_keys_are_written_once(scene: Scene, kind: str) -> None:
    assert not scene.ssh_accepts("one")
    checked = scene.run(pins(scene, kind), "--check")
    assert checked.returncode == 0 and scene.lines() == [], checked.stdout
    first = scene.run(pins(scene, kind))
    assert first.returncode == 0 and "2 written" in first.stdout, first.stdout
    assert len(scene.lines()) == 2 and scene.ssh_accepts("one") and scene.ssh_accepts("two")
    before = scene.known.read_bytes()
    again = scene.run(pins(scene, kind))
    assert again.returncode == 0 and "0 written" in again.stdout, again.stdout
    assert scene.known.read_bytes() == before


def test_a_key_that_nobody_compared_is_not_written(scene: Scene) -> None:
    only_one = {"one": pins(scene)["one"]}
    done = scene.run(only_one)
    assert done.returncode != 0 and scene.lines() == []
    text = " ".join(done.stdout.split())
    assert "nodes.two.podnet_host_key_fingerprints" in text and "nodes.one" not in text
    assert all(scene.servers["two"].fingerprint(kind) in text for kind in KINDS)


def test_a_changed_key_is_refused_until_it_is_pinned(scene: Scene) -> None:
    before = pins(scene)
    assert scene.run(before).returncode == 0
    server = scene.servers["one"]
    server.stop()
    server.make("ed25519")
    server.start()
    lines = scene.lines()
    refused = scene.run(before)
    assert refused.returncode != 0 and scene.lines() == lines
    text = "".join(refused.stdout.split())
    assert before["one"][0] in text and server.fingerprint("ed25519") in text
    done = scene.run(pins(scene))
    assert done.returncode == 0 and before["one"][0] in "".join(done.stdout.split()), done.stdout
    assert scene.ssh_accepts("one") and scene.ssh_accepts("two") and len(scene.lines()) == 2


def test_nobody_there(scene: Scene) -> None:
    wanted = pins(scene)
    scene.servers["two"].stop()
    done = scene.run(wanted)
    assert done.returncode != 0 and "refused" in done.stdout and scene.lines() == []
