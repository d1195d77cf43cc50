# SPDX-License-Identifier: GPL-3.0-or-later
"""A CNI runtime: it runs a network configuration list as the specification says (1.0.0 and
1.1.0, sections 1 to 5): ADD and CHECK in order, DEL in reverse, each result handed to the next.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from .machine import Run

KINDS = (".conf", ".conflist", ".json")


class CniError(Exception):
    """A configuration or a plugin is not as it must be; the text is for a person."""


class PluginError(CniError):
    """A plugin has said what is wrong (section 5)."""


class PluginCrash(CniError):
    """A plugin ended without saying what is wrong."""


def message(where: str, what: str, expected: str, found: str, remedy: str) -> str:
    return (
        f"{where}: {what}\n    expected: {expected}\n    found:    {found}\n    do:       {remedy}"
    )


# --- configuration (section 1) --------------------------------------------------------------


def find_conflist(folder: str) -> str:
    """The configuration a runtime uses: the lexically first name in the folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(KINDS))
    except OSError as error:
        names, found = [], str(error)
    else:
        found = "none"
    if not names:
        remedy = "run podnet.fabric.site"
        raise CniError(message(folder, "no CNI configuration", "a *.conflist", found, remedy))
    return os.path.join(folder, names[0])


def read_conflist(path: str) -> Dict[str, Any]:
    """A configuration list; a single configuration (*.conf) becomes a list of one."""
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
    except (OSError, ValueError) as error:
        raise CniError(
            message(path, "cannot be read", "a CNI configuration list", str(error), "mend the file")
        ) from error
    if isinstance(data, dict) and "plugins" not in data and "type" in data:
        head = {key: data[key] for key in ("cniVersion", "name") if key in data}
        data = {**head, "plugins": [data]}
    wrong = _wrong_shape(data)
    if wrong:
        raise CniError(
            message(path, "not a CNI configuration list", wrong[0], wrong[1], "mend the file")
        )
    return dict(data)


def _wrong_shape(data: Any) -> Optional[Tuple[str, str]]:
    """(expected, found) of the first thing that is not as section 1 wants it."""
    if not isinstance(data, dict):
        return "a JSON object", type(data).__name__
    for key in ("cniVersion", "name"):
        if not isinstance(data.get(key), str) or not data[key]:
            return f"a text `{key}`", repr(data.get(key))
    plugins = data.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        return "a list `plugins` that is not empty", repr(plugins)
    for number, plugin in enumerate(plugins):
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not kind or "/" in kind:
            return f"`plugins[{number}]` with a program's name as `type`", repr(plugin)[:80]
    return None


def _number(version: str) -> Tuple[int, ...]:
    """To compare versions: 0.10.0 comes after 0.4.0."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


# --- runtime (sections 2 to 5) --------------------------------------------------------------


class Attachment(NamedTuple):
    """What plugins are told of the container: its id, the path of its network namespace (empty
    when that is gone), the interface's name, and CNI_ARGS."""

    container: str
    netns: str
    ifname: str
    arguments: Mapping[str, str]

    def environment(self, command: str, bin_dirs: List[str]) -> Dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in self.arguments.items()),
            "CNI_PATH": ":".join(bin_dirs),
        }


class Runtime:
    """Runs one list for one container.

    ``capabilities`` are values such as `portMappings`; a plugin gets those that it declares.
    """

    def __init__(
        self,
        conflist: Mapping[str, Any],
        bin_dirs: List[str],
        run: Run,
        capabilities: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.conflist, self.bin_dirs, self.run = conflist, bin_dirs, run
        self.capabilities = capabilities or {}

    def usable(self) -> Dict[str, Any]:
        """The list with the version that all its plugins speak. Raises CniError when a plugin is
        missing, none of the list's versions is spoken, or nobody takes a wanted capability.
        Nothing is changed on the node, so this comes before anything that would be."""
        self._capabilities_are_declared()
        offered = {str(v) for v in self.conflist.get("cniVersions") or ()}
        offered.add(str(self.conflist["cniVersion"]))
        for name in self._programs():
            spoken = self.versions(name)
            if not offered & set(spoken):
                raise CniError(
                    message(
                        f"CNI plugin {name} ({self._path(name)})",
                        "does not speak the list's version",
                        f"cniVersion {', '.join(sorted(offered, key=_number))}",
                        f"supportedVersions {', '.join(spoken) or 'none'}",
                        "choose a podnet_cni_version that the plugin speaks, or newer plugins",
                    )
                )
            offered &= set(spoken)
        plain = {key: value for key, value in self.conflist.items() if key != "cniVersions"}
        return {**plain, "cniVersion": max(offered, key=_number)}

    def versions(self, name: str) -> List[str]:
        """What a plugin answers to VERSION (section 2)."""
        environment = {"CNI_COMMAND": "VERSION", "CNI_PATH": ":".join(self.bin_dirs)}
        question = json.dumps({"cniVersion": self.conflist["cniVersion"]})
        code, output, errors = self.run([self._path(name)], environment, question)
        if code:
            raise _failure("VERSION", name, code, output, errors)
        answer = _parse(name, "VERSION", output)
        return [str(version) for version in answer.get("supportedVersions") or ()]

    def add(self, pod: Attachment) -> Dict[str, Any]:
        """The last plugin's result. A failure is followed by DEL of the whole list (section 3:
        what a failed ADD did must be taken back by a DEL), and then raised."""
        result: Dict[str, Any] = {}
        try:
            for plugin in self.conflist["plugins"]:
                output = self._call("ADD", plugin, pod, result or None)
                result = _parse(str(plugin["type"]), "ADD", output)
        except CniError as error:
            try:
                self.delete(pod, result or None)
            except CniError as second:
                # Both are said: what went wrong first, and what may be left because of the second.
                raise type(error)(f"{error}\nTaking it back failed as well: {second}") from error
            raise
        return result

    def blind(self, pod: Attachment, result: Mapping[str, Any]) -> Dict[str, str]:
        """To be asked right after ADD: plugins whose CHECK finds fault with what they have just
        made, and what they say. Their word later would mean as little. (Seen with 1.1.1: bandwidth
        crashes where no limit is set; portmap fails for any mapping in a dual-stack pod.)"""
        found: Dict[str, str] = {}
        for plugin in self._checked():
            try:
                self._call("CHECK", plugin, pod, result)
            except CniError as error:
                found[str(plugin["type"])] = str(error)
        return found

    def check(
        self, pod: Attachment, result: Mapping[str, Any], blind: Iterable[str]
    ) -> Optional[str]:
        """What is wrong, or None; ``blind`` plugins are not asked. A crash says nothing of the
        pod. A plugin that is not there is an error: nobody can say whether the pod is whole."""
        for plugin in self._checked():
            if plugin["type"] not in blind:
                try:
                    self._call("CHECK", plugin, pod, result)
                except PluginCrash:
                    continue
                except PluginError as error:
                    return str(error)
        return None

    def _checked(self) -> List[Dict[str, Any]]:
        """CHECK exists since 0.4.0, and a list may switch it off (section 1)."""
        version = _number(str(self.conflist["cniVersion"]))
        if self.conflist.get("disableCheck") in (True, "true") or version < (0, 4, 0):
            return []
        return list(self.conflist["plugins"])

    def delete(self, pod: Attachment, result: Optional[Mapping[str, Any]]) -> None:
        """Every plugin is asked, in reverse order, even after one has failed: each may hold
        something. The first failure is raised at the end."""
        failure: Optional[CniError] = None
        for plugin in reversed(self.conflist["plugins"]):
            try:
                self._call("DEL", plugin, pod, result)
            except CniError as error:
                failure = failure or error
        if failure:
            raise failure

    def _capabilities_are_declared(self) -> None:
        declared = {
            key
            for plugin in self.conflist["plugins"]
            for key, on in (plugin.get("capabilities") or {}).items()
            if on
        }
        for name in sorted(set(self.capabilities) - declared):
            raise CniError(
                message(
                    f"CNI configuration {self.conflist['name']}",
                    f"no plugin takes the capability {name}",
                    "a plugin with it in `capabilities`",
                    ", ".join(sorted(declared)) or "none",
                    f"leave {name} out, or add the plugin to podnet_cni_chain",
                )
            )

    def _programs(self) -> List[str]:
        """Plugins of the list and those that they hand the addresses to (section 4)."""
        names: List[str] = []
        for plugin in self.conflist["plugins"]:
            ipam = plugin.get("ipam")
            helper = ipam.get("type") if isinstance(ipam, dict) else None
            names += [name for name in (plugin["type"], helper) if name and name not in names]
        return names

    def _path(self, name: str) -> str:
        for folder in self.bin_dirs:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
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
        pod: Attachment,
        result: Optional[Mapping[str, Any]],
    ) -> str:
        name = str(plugin["type"])
        config = json.dumps(self._execution_config(plugin, result))
        environment = pod.environment(command, self.bin_dirs)
        code, output, errors = self.run([self._path(name)], environment, config)
        if code:
            raise _failure(command, name, code, output, errors)
        return output

    def _execution_config(
        self, plugin: Mapping[str, Any], result: Optional[Mapping[str, Any]]
    ) -> Dict[str, Any]:
        """What a plugin gets on its standard input (section 3, "deriving")."""
        config = {key: value for key, value in plugin.items() if key != "capabilities"}
        config["name"] = self.conflist["name"]
        config["cniVersion"] = self.conflist["cniVersion"]
        wanted = plugin.get("capabilities") or {}
        given = {key: value for key, value in self.capabilities.items() if wanted.get(key)}
        if given:
            config["runtimeConfig"] = given
        if result is not None:
            config["prevResult"] = result
        return config


def _failure(command: str, name: str, code: int, output: str, errors: str) -> CniError:
    """A plugin says what is wrong as {code, msg, details} on its output (section 5)."""
    where = f"CNI plugin {name}, {command}"
    try:
        said = json.loads(output)
        found = f"{said['msg']} {said.get('details') or ''}".strip()
        number = said.get("code", "none")
    except (ValueError, KeyError, TypeError, AttributeError):
        text = " ".join((output.strip() or errors.strip() or "nothing").split())[:300]
        text = f"exit code {code}, without a CNI error: {text}"
        remedy = "run the plugin by hand, or reinstall it"
        return PluginCrash(message(where, "the plugin crashed", "exit code 0", text, remedy))
    remedy = "read what the plugin says; it stands after `found`"
    if number == 1:  # incompatible CNI version
        remedy = "choose a podnet_cni_version that the plugin supports, or newer plugins"
    found = f"{found} (code {number})"
    return PluginError(message(where, "the plugin failed", "exit code 0", found, remedy))


def _parse(name: str, command: str, output: str) -> Dict[str, Any]:
    try:
        result = json.loads(output)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        found = output.strip()[:200] or "nothing"
        raise CniError(
            message(
                f"CNI plugin {name}, {command}",
                "the answer is not a CNI result",
                "a JSON object",
                found,
                "reinstall the plugin",
            )
        )
    return result
