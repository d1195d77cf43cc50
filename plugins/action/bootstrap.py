# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.bootstrap`: give a node the programs that podnet needs there.

The node needs a shell, SSH and apt-get or dnf: no Python, and with files no network either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.bootstrap import (
    Found,
    Source,
    check,
    found,
    install_script,
    look_script,
    packages,
    still_missing,
    told,
)
from ..plugin_utils.cni_install import RefusedError

SPEC = {
    "bin_dir": {"type": "str", "default": "/usr/lib/cni"},
    "python": {"type": "bool", "default": True},
    "frr": {"type": "bool", "default": False},
    "repository": {"type": "str", "default": ""},
    "files": {"type": "list", "elements": "path", "default": []},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        try:
            name = str((task_vars or {})["inventory_hostname"])
            return {**result, **self._bootstrap(args, name)}
        except RefusedError as error:
            return {**result, "failed": True, "msg": str(error)}
        except OSError as error:
            msg = f"podnet_bootstrap_files: {error.filename}: {error.strerror}"
            return {**result, "failed": True, "msg": msg}

    def _bootstrap(self, args: dict[str, Any], name: str) -> dict[str, Any]:
        """
        Raises:
            RefusedError: what the node or the arguments lack.
            OSError: a file on the controller cannot be read.
        """
        source = Source(args["repository"], _files(args["files"]))
        check(source)
        node = self._look(args)
        if not node.missing:
            return {"changed": False, "packages": []}
        names = packages(node)
        line = told(name, node.missing, names, self._task.check_mode)
        done = {"changed": True, "packages": list(names), "podnet_lines": [line]}
        if self._task.check_mode:
            return done
        self._run(install_script(node.manager, names, source), "the packages cannot be installed")
        left = self._look(args).missing
        if left:
            found = still_missing(name, left, names, args["bin_dir"], bool(source.files))
            raise RefusedError("\n\n".join(map(str, found)))
        return done

    def _look(self, args: dict[str, Any]) -> Found:
        text = look_script(args["bin_dir"], args["python"], args["frr"])
        return found(self._run(text.encode(), "the node cannot be looked at"))

    def _run(self, text: bytes, what: str) -> str:
        answer = self._low_level_execute_command("sh -s", in_data=text, sudoable=True)
        if answer["rc"]:
            said = (answer["stderr"].strip() or answer["stdout"].strip())[-2000:]
            raise RefusedError(f"{what}: {said}")
        return str(answer["stdout"])


def _files(paths: list[str]) -> dict[str, bytes]:
    """File name → content; a folder stands for the packages in it."""
    found_files: dict[str, bytes] = {}
    for path in map(Path, paths):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in inside:
            if file == path or file.suffix in (".deb", ".rpm"):
                found_files[file.name] = file.read_bytes()
    return found_files
