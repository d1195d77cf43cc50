# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.cni_plugins`: unpack an archive of CNI plugins on a node.

The archive is checked on the controller and travels over the connection that is open anyway;
the node needs tar and no Python, no internet and no second tool.
"""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

from ..plugin_utils.workspace import Workspace, WorkspaceError

# Into a folder beside the target, then each program renamed over the old one: a runtime that
# calls a plugin meanwhile finds the old or the new one, never half of one.
UNPACK = """set -eu; umask 022; mkdir -p {bin_dir}; t=$(mktemp -d {bin_dir}/.podnet.XXXXXX)
trap 'rm -rf "$t"' EXIT
tar -xzf - -C "$t"; chmod 0755 "$t"/*; chown 0:0 "$t"/*
for f in "$t"/*; do [ -f "$f" ] && [ -x "$f" ] && mv -f "$f" {bin_dir}/; done
"""


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "src": {"type": "str", "required": True},
                "sha256": {"type": "str", "required": True},
                "output_dir": {"type": "path"},
            }
        )
        workspace = Workspace(args["output_dir"])
        try:
            folder = workspace.fabric().cni.bin_dir
            archive = _archive(args["src"], args["sha256"].lower(), workspace)
        except (WorkspaceError, OSError, ValueError) as error:
            return {**result, "failed": True, "msg": str(error)}
        if self._task.check_mode:
            return {**result, "changed": True}
        command = "sh -c " + shlex.quote(UNPACK.replace("{bin_dir}", shlex.quote(folder)))
        answer = self._low_level_execute_command(command, in_data=archive, sudoable=True)
        if answer["rc"]:
            text = f"{folder}: the archive cannot be unpacked: {answer['stderr'].strip()}"
            return {**result, "failed": True, "msg": text}
        return {**result, "changed": True}


def _archive(src: str, sha256: str, workspace: Workspace) -> bytes:
    """The archive's bytes, from a path or a URL, only when its checksum is the expected one."""
    if not src or not sha256:
        raise ValueError(
            "podnet_cni_tarball: not set. Expected the path or URL of an archive of CNI plugins, "
            "and podnet_cni_tarball_sha256 with its SHA-256; found "
            f"{src or 'no archive'} and {sha256 or 'no checksum'}"
        )
    kept = workspace.state / "downloads" / sha256
    if kept.is_file():
        content = kept.read_bytes()
    elif "://" in src:
        content = open_url(src, timeout=60).read()
    else:
        content = Path(src).expanduser().read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"podnet_cni_tarball: {src} is not the expected file. Expected SHA-256 {sha256}, "
            f"found {found}; correct the checksum, or find out who changed the file"
        )
    if "://" in src and not kept.is_file():
        _keep(kept, content)
    return content


def _keep(path: Path, content: bytes) -> None:
    """Keep a download, so that a fleet fetches it once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
        stream.write(content)
    Path(stream.name).replace(path)
