# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.cni_plugins`: install CNI plugins on a node, from a package or an archive.

An archive is checked on the controller and travels over the connection that is open anyway;
the node needs no Python, no internet and no second tool.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

from ..plugin_utils.cni_install import (
    RefusedError,
    archive_script,
    checksum,
    compare,
    package_script,
)
from ..plugin_utils.workspace import Workspace, WorkspaceError

SPEC = {
    "package": {"type": "str"},
    "src": {"type": "str", "default": ""},
    "sha256": {"type": "str", "default": ""},
    "output_dir": {"type": "path"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        try:
            text = _text(args)
        except (RefusedError, WorkspaceError, OSError) as error:
            return {**result, "failed": True, "msg": str(error)}
        if self._task.check_mode:
            return {**result, "changed": True}
        answer = self._low_level_execute_command("sh -s", in_data=text, sudoable=True)
        if answer["rc"]:
            said = (answer["stderr"].strip() or answer["stdout"].strip())[-2000:]
            what = "the CNI plugins cannot be installed"
            return {**result, "failed": True, "msg": f"{what}: {said}"}
        return {**result, "changed": True}


def _text(args: dict[str, Any]) -> bytes:
    if args["package"] is not None:
        return package_script(args["package"])
    workspace = Workspace(args["output_dir"])
    bin_dir = workspace.fabric().cni.bin_dir
    wanted = checksum(args["src"], args["sha256"])
    return archive_script(_archive(args["src"], wanted, workspace), bin_dir)


def _archive(src: str, sha256: str, workspace: Workspace) -> bytes:
    """The archive's bytes, from a path or a URL, only when its checksum is the expected one."""
    if "://" not in src:
        content = Path(src).expanduser().read_bytes()
        compare(src, content, sha256)
        return content
    kept = workspace.state / "downloads" / sha256
    if kept.is_file():
        content = kept.read_bytes()
        # What was kept and has changed since is fetched again.
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    content = open_url(src, timeout=60).read()
    compare(src, content, sha256)
    _keep(kept, content)
    return content


def _keep(path: Path, content: bytes) -> None:
    """Keep a download, so that a fleet fetches it once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
        stream.write(content)
    Path(stream.name).replace(path)
