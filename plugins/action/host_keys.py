# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.host_keys`: pin the nodes' SSH host keys before the first contact."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.host_keys import HostKey, Target, Verdict, bad_pins, judge, line_of, read_known
from ..plugin_utils.intent.problems import ProblemsError

try:
    import paramiko
except ImportError:  # said when the action runs
    paramiko = None

SPEC = {
    "known_hosts": {"type": "path", "default": "~/.ssh/known_hosts"},
    "timeout": {"type": "int", "default": 10},
}
# One type for each connection, and the one that is pinned most often first.
KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
)
AT_ONCE = 32


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once, on the controller, and logs in nowhere."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        if paramiko is None:
            return {**result, "failed": True, "msg": "paramiko is missing: pip install paramiko"}
        variables = task_vars or {}
        hosts = [str(host) for host in variables["ansible_play_hosts_all"]]
        targets = [_target(host, variables["hostvars"][host]) for host in hosts]
        path = Path(os.path.expanduser(str(args["known_hosts"])))
        try:
            return {**result, **_pin(targets, path, args["timeout"], self._task.check_mode)}
        except ProblemsError as error:
            return {**result, "failed": True, "msg": error.text()}
        except OSError as error:
            return {**result, "failed": True, "msg": f"{path}: {error.strerror or error}"}


def _target(host: str, variables: Mapping[str, Any]) -> Target:
    pins = variables.get("podnet_host_key_fingerprints") or ()
    given = [pins] if isinstance(pins, str) else list(pins)
    return Target(
        host,
        str(variables.get("ansible_host", host)),
        int(variables.get("ansible_port", 22)),
        tuple(str(pin) for pin in given),
    )


def _pin(targets: Sequence[Target], path: Path, timeout: int, check: bool) -> dict[str, Any]:
    """All nodes or none.

    Raises:
        ProblemsError: every node whose keys are not the pinned ones.
    """
    problems = [problem for target in targets if (problem := bad_pins(target))]
    if problems:
        raise ProblemsError("the inventory", problems)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        shown = list(pool.map(lambda target: _collect(target, timeout), targets))
    known = [_known(target, path) for target in targets]
    verdicts = [judge(t, *s, k) for t, s, k in zip(targets, shown, known, strict=True)]
    problems = [verdict.problem for verdict in verdicts if verdict.problem]
    if problems:
        raise ProblemsError("the host keys", problems)
    due = [(t, v) for t, v in zip(targets, verdicts, strict=True) if v.new or v.old]
    if due and not check:
        _write(due, path)
    lines = [f"{t.node}: {_words(v)}" for t, v in due]
    return {
        "changed": bool(due),
        "podnet_lines": lines,
        "podnet_summary": f"{len(targets)} nodes show the keys that are pinned, {len(due)} written",
    }


def _words(verdict: Verdict) -> str:
    new = ", ".join(str(key) for key in verdict.new) or "nothing"
    old = ", ".join(str(key) for key in verdict.old)
    return f"{new} written" + (f", in place of {old}" if old else "")


def _collect(target: Target, timeout: int) -> tuple[list[HostKey], str]:
    """Keys that the server shows, up to the first that is pinned; and why there is none."""
    keys: list[HostKey] = []
    silent = ""
    for kind in KINDS:
        try:
            with socket.create_connection((target.address, target.port), timeout) as connection:
                key = _key(connection, kind, timeout)
        except (OSError, EOFError) as error:
            return keys, str(error) or "it closed the connection"
        except paramiko.SSHException as error:
            silent = str(error)  # a type that this server does not have
            continue
        keys.append(key)
        if key.fingerprint in target.pins:
            break
    return keys, silent


def _key(connection: socket.socket, kind: str, timeout: int) -> HostKey:
    transport = paramiko.Transport(connection)
    try:
        transport.get_security_options().key_types = (kind,)
        transport.start_client(timeout=timeout)
        key = transport.get_remote_server_key()
        return HostKey(key.get_name(), key.get_base64())
    finally:
        transport.close()


def _known(target: Target, path: Path) -> list[HostKey]:
    if not path.is_file():
        return []
    command = ["ssh-keygen", "-F", target.entry, "-f", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return read_known(found.stdout)


def _write(due: Sequence[tuple[Target, Verdict]], path: Path) -> None:
    """Lines of others stay as they are; ssh-keygen knows hashed names, too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = ""
    for target, verdict in due:
        if verdict.old:
            command = ["ssh-keygen", "-q", "-R", target.entry, "-f", str(path)]
            subprocess.run(command, capture_output=True, check=True)
        lines += "".join(line_of(target, key) for key in verdict.new)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    part = path.with_name(path.name + ".podnet")
    part.write_text(before + ("\n" if before and before[-1] != "\n" else "") + lines, "utf-8")
    part.chmod(0o600)
    part.replace(path)
