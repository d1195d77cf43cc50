# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab asks of a container engine, shown by a program that writes down what it is told."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils.lab import engine, naming, topology

LOG = '#!/bin/sh\nprintf "%s " "$@" >>"$0.log"; echo >>"$0.log"\n'
IMPORTS = LOG + (
    'case $1 in images) [ ! -e "$0.tar" ] || echo some-id ;; import) cat >"$0.tar" ;; esac\n'
)


def program(folder: Path, text: str) -> Path:
    path = folder / "engine"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def told(path: Path) -> list[str]:
    return path.with_suffix(".log").read_text(encoding="utf-8").splitlines()


def test_a_container_has_no_network_of_the_engines_and_limits_that_root_may_set(
    tmp_path: Path,
) -> None:
    fake = program(tmp_path, LOG)
    engine.Engine(str(fake), "abc123").create(4, "node-1", "some/image", "/lab/node-1")
    (said,) = told(fake)
    assert "--name podnet-abc123-4 --hostname node-1 --label podnet.lab=abc123 " in said
    assert "--network none" in said and "--volume /lab/node-1:/podnet-lab some/image" in said
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    value = int(said.partition("nofile=")[2].partition(":")[0])
    assert 0 < value <= (hard if hard != resource.RLIM_INFINITY else 1 << 20)


def test_an_image_is_made_once_of_a_root_file_system(tmp_path: Path) -> None:
    fake, rootfs = program(tmp_path, IMPORTS), tmp_path / "Rootfs"
    (rootfs / "etc").mkdir(parents=True)
    made = [engine.Engine(str(fake), "abc123").image(str(rootfs)) for _time in range(2)]
    assert made == [naming.image(str(rootfs))] * 2
    assert made[0].endswith("-rootfs") and made[0].startswith("localhost/podnet-lab:")
    assert [line.split()[0] for line in told(fake)] == ["images", "import", "images"]
    assert b"./etc/" in fake.with_suffix(".tar").read_bytes()


def test_an_import_that_fails_is_an_error(tmp_path: Path) -> None:
    fake = program(tmp_path, '#!/bin/sh\n[ "$1" = images ] || { echo no space; exit 3; }\n')
    with pytest.raises(topology.LabError, match="exit code 3\nno space"):
        engine.Engine(str(fake), "abc123").image(str(tmp_path))


def test_this_machine_cannot_be_an_image(tmp_path: Path) -> None:
    fake = program(tmp_path, LOG)
    with pytest.raises(topology.LabError, match=r"podnet_lab_rootfs: .*\n +expected:"):
        engine.Engine(str(fake), "abc123").image("/")


def test_an_engine_that_is_not_there_or_does_not_answer_is_named(tmp_path: Path) -> None:
    silent = program(tmp_path, "#!/bin/sh\necho 'cannot connect to the daemon' >&2; exit 1\n")
    for wanted, reason in ((str(silent), "cannot connect"), ("no-such", "is not installed")):
        with pytest.raises(topology.LabError, match=f"(?s)no container engine.*{reason}.*do:"):
            engine.find(wanted)
    assert engine.find(str(program(tmp_path, LOG))) == str(silent)
