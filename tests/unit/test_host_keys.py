# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host keys are written, which are refused, and what is said of them."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.host_keys import (
    HostKey,
    Target,
    bad_pins,
    judge,
    line_of,
    read_known,
)


def key(number: int, kind: str = "ssh-ed25519") -> HostKey:
    return HostKey(kind, base64.b64encode(bytes([number]) * 40).decode())


OLD, NEW, OTHER = key(1), key(2), key(3, "rsa-sha2-512")


def target(*pins: HostKey, port: int = 22) -> Target:
    return Target("worker-1", "192.0.2.11", port, tuple(pin.fingerprint for pin in pins))


def test_fingerprint_is_that_of_openssh(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    kind, data = path.with_suffix(".pub").read_text(encoding="utf-8").split()[:2]
    shown = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True)
    assert HostKey(kind, data).fingerprint == shown.stdout.split()[1]


def test_pinned_keys_are_written_and_others_are_not() -> None:
    verdict = judge(target(NEW), [OTHER, NEW], "", [])
    assert (verdict.problem, verdict.new, verdict.old) == (None, (NEW,), ())


def test_nothing_is_written_twice() -> None:
    verdict = judge(target(NEW), [NEW], "", [NEW])
    assert (verdict.problem, verdict.new, verdict.old) == (None, (), ())


def test_what_is_not_pinned_any_more_goes_and_the_rest_is_written_anew() -> None:
    verdict = judge(target(NEW, OTHER), [NEW], "", [OLD, OTHER])
    assert (verdict.new, verdict.old) == ((OTHER, NEW), (OLD,))


@pytest.mark.parametrize(
    ("pins", "shown", "words"),
    [
        ((), [NEW], ["podnet_host_key_fingerprints", "no host key is pinned", NEW.fingerprint]),
        ((OLD,), [NEW], ["another host key", OLD.fingerprint, NEW.fingerprint, "do not connect"]),
        ((OLD,), [], ["showed no host key", "Connection refused", "192.0.2.11 port 2222"]),
    ],
)
def test_refusals_say_what_was_found(
    pins: tuple[HostKey, ...], shown: list[HostKey], words: list[str]
) -> None:
    verdict = judge(target(*pins, port=2222), shown, "Connection refused", [])
    assert verdict.problem and not verdict.new
    text = str(verdict.problem)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("pin", ["", "SHA256:short", "MD5:aa:bb", "SHA256:" + "a" * 44, "*"])
def test_pins_that_are_none(pin: str) -> None:
    problem = bad_pins(Target("worker-1", "192.0.2.11", 22, (pin,)))
    assert problem and repr(pin) in problem.found


def test_known_hosts_lines() -> None:
    assert line_of(target(), NEW) == f"192.0.2.11 ssh-ed25519 {NEW.data}\n"
    assert line_of(target(port=2222), NEW).startswith("[192.0.2.11]:2222 ")
    text = (
        f"# Host x found: line 1\n{line_of(target(), NEW)}@revoked * ssh-ed25519 {OLD.data}\nx y\n"
    )
    assert read_known(text) == [NEW]
