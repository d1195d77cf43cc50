# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CNI plugins the read script asks for their versions, in real shells."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.read import read_script

VERSIONS = '{"supportedVersions": ["%s"]}'
SHELLS = (["dash"], ["bash", "--posix"], ["busybox", "sh"])


def asked(
    shell: list[str], folder: Path, times: dict[str, int], broken: str = ""
) -> tuple[dict[str, str], list[str]]:
    """What the script says of each plugin, and whom it asked. ``times``: of modification."""
    for name, time in times.items():
        path = folder / name
        said = f"echo '{VERSIONS % time}'" if name != broken else ""
        path.write_text(f"#!/bin/sh\necho {name} >>{folder}/asked\n{said}\n", encoding="utf-8")
        path.chmod(0o755)
        os.utime(path, (time, time))
    script = read_script((), (), (), (), {}, [*times, "absent"], "/none", str(folder), "1.0.0")
    text = (
        script[: script.index("s last")] + script[script.index("s plugins") : script.index("s end")]
    )
    done = subprocess.run([*shell, "-s"], input=text, capture_output=True, text=True, check=True)
    lines = [line.partition(" ") for line in done.stdout.strip().splitlines()[1:]]
    return {name: rest for name, _space, rest in lines}, (folder / "asked").read_text().split()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: str(shell[0]))
def test_one_plugin_speaks_for_those_of_its_package(shell: list[str], tmp_path: Path) -> None:
    times = {"bridge": 1_000, "host-local": 1_000, "portmap": 2_000, "firewall": 1_000}
    said, who = asked(shell, tmp_path, times)
    expected = {name: VERSIONS % time for name, time in times.items()}
    assert said == {**expected, "absent": "absent"}
    # Packages are not mixed plugin by plugin; where they are, one more is asked.
    assert who == ["bridge", "portmap", "firewall"]


def test_one_that_says_nothing_speaks_for_itself_alone(tmp_path: Path) -> None:
    times = {"bridge": 1_000, "host-local": 1_000}
    said, who = asked(SHELLS[0], tmp_path, times, broken="bridge")
    assert said["bridge"] == "" and "1000" in said["host-local"]
    assert who == ["bridge", "host-local"]
