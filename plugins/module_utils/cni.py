# SPDX-License-Identifier: GPL-3.0-or-later
"""A CNI runtime: it runs a network configuration list as the specification says (1.0.0,
sections 2 to 4): ADD and CHECK in order, DEL in reverse, each result handed to the next.
"""

from __future__ import annotations

import glob
import json
import os
from typing import Any, Dict, List, Mapping, Optional

from .machine import Run


class CniError(Exception):
    """A configuration or a plugin is not as it must be; the text is for a person."""


class PluginCrash(CniError):
    """A plugin ended without saying what is wrong, as the specification wants it to."""


def message(where: str, what: str, expected: str, found: str, remedy: str) -> str:
    return (
        f"{where}: {what}\n    expected: {expected}\n    found:    {found}\n    do:       {remedy}"
    )


def find_conflist(folder: str) -> str:
    """The list a runtime uses: the lexically first name in the folder."""
    paths = sorted(
        path for kind in ("*.conf", "*.conflist", "*.json") for path in glob.glob(f"{folder}/{kind}")
    )
    if not paths:
        raise CniError(
            message(
                folder, "no CNI configuration", "a file *.conflist", "none", "run podnet.fabric.converge"
            )
        )
    return paths[0]


def read_conflist(path: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
    except (OSError, ValueError) as error:
        raise CniError(
            message(path, "cannot be read", "a CNI configuration list", str(error), "mend the file")
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("plugins"), list) or not data["plugins"]:
        raise CniError(
            message(
                path,
                "not a CNI configuration list",
                "a JSON object with a list `plugins`",
                f"keys {', '.join(data) if isinstance(data, dict) else type(data).__name__}",
                "mend the file",
            )
        )
    return data


class Runtime:
    """Runs one list for one container.

    ``arguments`` are the values of capabilities (`portMappings`, …); a plugin gets those that
    it declares.
    """

    def __init__(
        self,
        conflist: Mapping[str, Any],
        bin_dirs: List[str],
        run: Run,
        arguments: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.conflist, self.bin_dirs, self.run = conflist, bin_dirs, run
        self.arguments = arguments or {}

    def add(self, container: str, netns: str, ifname: str) -> Dict[str, Any]:
        """The last plugin's result. A failure is followed by DEL of the whole list (section 3:
        what a failed ADD did must be taken back by a DEL), and then raised."""
        result: Optional[Dict[str, Any]] = None
        try:
            for plugin in self.conflist["plugins"]:
                output = self._call("ADD", plugin, container, netns, ifname, result)
                result = self._result(plugin, output)
        except CniError:
            try:
                self.delete(container, netns, ifname, result)
            except CniError:
                pass  # the first error is the one to show
            raise
        return result or {}

    def check(
        self, container: str, netns: str, ifname: str, result: Mapping[str, Any]
    ) -> Optional[str]:
        """What is wrong, or None. CHECK exists since 0.4.0, and a list may switch it off. A
        plugin that crashes has said nothing about the pod: bandwidth 1.1.1 does so wherever no
        limit is set."""
        version = str(self.conflist.get("cniVersion", "0.1.0"))
        if self.conflist.get("disableCheck") or version < "0.4.0":
            return None
        for plugin in self.conflist["plugins"]:
            try:
                self._call("CHECK", plugin, container, netns, ifname, result)
            except PluginCrash:
                continue
            except CniError as error:
                return str(error)
        return None

    def delete(
        self, container: str, netns: str, ifname: str, result: Optional[Mapping[str, Any]]
    ) -> None:
        """Every plugin is asked, in reverse order, even after one has failed: each may hold
        something. The first failure is raised at the end."""
        failure: Optional[CniError] = None
        for plugin in reversed(self.conflist["plugins"]):
            try:
                self._call("DEL", plugin, container, netns, ifname, result)
            except CniError as error:
                failure = failure or error
        if failure:
            raise failure

    def _program(self, name: str) -> str:
        for folder in self.bin_dirs:
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK):
                return path
        raise CniError(
            message(
                f"CNI plugin {name}",
                "not installed",
                f"a program in {' or '.join(self.bin_dirs)}",
                "none",
                "install the CNI plugins (podnet_cni_install)",
            )
        )

    def _call(
        self,
        command: str,
        plugin: Mapping[str, Any],
        container: str,
        netns: str,
        ifname: str,
        result: Optional[Mapping[str, Any]],
    ) -> str:
        config = {key: value for key, value in plugin.items() if key != "capabilities"}
        config["name"] = self.conflist["name"]
        config["cniVersion"] = self.conflist["cniVersion"]
        wanted = plugin.get("capabilities", {})
        given = {k: v for k, v in self.arguments.items() if wanted.get(k)}
        if given:
            config["runtimeConfig"] = given
        if result is not None:
            config["prevResult"] = result
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": ifname,
            "CNI_PATH": ":".join(self.bin_dirs),
        }
        program = self._program(str(plugin["type"]))
        code, output, errors = self.run([program], environment, json.dumps(config))
        if code:
            raise self._failure(command, plugin, output, errors)
        return output

    def _failure(
        self, command: str, plugin: Mapping[str, Any], output: str, errors: str
    ) -> CniError:
        kind, remedy = CniError, "read what the plugin says; it stands after `found`"
        try:
            said = json.loads(output)
            found = f"{said.get('msg', '')} {said.get('details', '')}".strip()
            if said.get("code") == 1:  # section 5: incompatible CNI version
                remedy = "choose a podnet_cni_version that the plugin supports, or newer plugins"
        except ValueError:
            kind = PluginCrash
            found = " ".join((output.strip() or errors.strip() or "nothing").split())[:300]
        where = f"CNI plugin {plugin['type']}, {command}"
        return kind(message(where, "the plugin failed", "exit code 0", found, remedy))

    def _result(self, plugin: Mapping[str, Any], output: str) -> Dict[str, Any]:
        try:
            result: Dict[str, Any] = json.loads(output)
            return result
        except ValueError as error:
            raise CniError(
                message(
                    f"CNI plugin {plugin['type']}, ADD",
                    "the result is not JSON",
                    "a CNI result",
                    output[:200],
                    "reinstall the plugin",
                )
            ) from error
