# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI runtime against plugins that are a hand-written fake: order, hand-over, errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils import cni

POD = cni.Attachment("id-1", "/run/netns/x", "eth0", {"IgnoreUnknown": "1", "K8S_POD_NAME": "web"})
LIST = {
    "cniVersion": "1.0.0",
    "name": "podnet",
    "plugins": [
        {"type": "bridge", "mtu": 1450, "ipam": {"type": "host-local"}},
        {"type": "portmap", "capabilities": {"portMappings": True, "ips": False}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ],
}
NAMES = ("bridge", "host-local", "portmap", "bandwidth")


class Plugins:
    """What `machine.run` is: plugins that answer, and a list of what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any], dict[str, str]]] = []
        self.answers: dict[tuple[str, str], tuple[int, str, str]] = {}
        self.spoken: dict[str, list[str]] = {}

    def __call__(self, argv: list[str], env: Mapping[str, str], stdin: str) -> tuple[int, str, str]:
        name, command = Path(argv[0]).name, env["CNI_COMMAND"]
        config = json.loads(stdin)
        self.asked.append((command, name, config, dict(env)))
        if (command, name) in self.answers:
            return self.answers[command, name]
        if command == "VERSION":
            spoken = self.spoken.get(name, ["0.4.0", "1.0.0"])
            return 0, json.dumps({"cniVersion": "1.0.0", "supportedVersions": spoken}), ""
        made = [*config.get("prevResult", {}).get("by", []), name]
        return 0, json.dumps({"cniVersion": "1.0.0", "by": made}) if command == "ADD" else "", ""

    def order(self) -> list[str]:
        return [f"{command} {name}" for command, name, _config, _env in self.asked]


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


@pytest.fixture
def make(bin_dir: Path) -> Callable[..., tuple[cni.Runtime, Plugins]]:
    def made(change: Any = None, **capabilities: Any) -> tuple[cni.Runtime, Plugins]:
        plugins = Plugins()
        conflist = {**LIST, **(change or {})}
        return cni.Runtime(conflist, [str(bin_dir)], plugins, capabilities), plugins

    return made


def test_each_result_is_handed_to_the_next(make: Any) -> None:
    runtime, plugins = make()
    assert runtime.add(POD)["by"] == ["bridge", "portmap", "bandwidth"]
    previous = [config.get("prevResult", {}).get("by") for _c, _n, config, _e in plugins.asked]
    assert previous == [None, ["bridge"], ["bridge", "portmap"]]


def test_a_plugin_gets_its_configuration_and_what_it_declares(make: Any, bin_dir: Path) -> None:
    mappings, rate = [{"hostPort": 80}], {"ingressRate": 1}
    runtime, plugins = make(portMappings=mappings, bandwidth=rate)
    runtime.add(POD)
    bridge, portmap, bandwidth = [config for _c, _n, config, _e in plugins.asked]
    assert bridge == {**LIST["plugins"][0], "cniVersion": "1.0.0", "name": "podnet"}
    assert portmap["runtimeConfig"] == {"portMappings": mappings}
    assert bandwidth["runtimeConfig"] == {"bandwidth": rate}
    assert not [c for c in (bridge, portmap, bandwidth) if "capabilities" in c]
    assert plugins.asked[0][3] == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "id-1",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
        "CNI_PATH": str(bin_dir),
    }


def test_delete_goes_backwards_with_the_cached_result_and_asks_all(make: Any) -> None:
    runtime, plugins = make()
    plugins.answers["DEL", "portmap"] = (1, '{"code": 7, "msg": "first"}', "")
    plugins.answers["DEL", "bridge"] = (1, '{"code": 7, "msg": "second"}', "")
    with pytest.raises(cni.PluginError, match=r"(?s)portmap, DEL.*first"):
        runtime.delete(POD, {"by": ["all"]})
    assert plugins.order() == ["DEL bandwidth", "DEL portmap", "DEL bridge"]
    assert all(config["prevResult"] == {"by": ["all"]} for _c, _n, config, _e in plugins.asked)
    plugins.asked.clear()
    with pytest.raises(cni.CniError):
        runtime.delete(POD, None)
    assert not [config for _c, _n, config, _e in plugins.asked if "prevResult" in config]


def test_failed_add_is_taken_back_by_the_whole_list(make: Any) -> None:
    runtime, plugins = make()
    said = {"cniVersion": "1.0.0", "code": 11, "msg": "no", "details": "way"}
    plugins.answers["ADD", "portmap"] = (1, json.dumps(said), "")
    with pytest.raises(cni.PluginError, match=r"no way \(code 11\)"):
        runtime.add(POD)
    adds, deletes = ["ADD bridge", "ADD portmap"], ["DEL bandwidth", "DEL portmap", "DEL bridge"]
    assert plugins.order() == [*adds, *deletes]


def test_failed_taking_back_is_said_as_well(make: Any) -> None:
    runtime, plugins = make()
    plugins.answers["ADD", "portmap"] = (1, '{"code": 7, "msg": "first"}', "")
    plugins.answers["DEL", "bridge"] = (1, '{"code": 7, "msg": "second"}', "")
    with pytest.raises(cni.CniError, match=r"(?s)first.*Taking it back failed as well.*second"):
        runtime.add(POD)


@pytest.mark.parametrize("output", ["", "no JSON", "[]", '"text"'])
def test_result_that_is_none_is_an_error_and_taken_back(make: Any, output: str) -> None:
    runtime, plugins = make()
    plugins.answers["ADD", "bridge"] = (0, output, "")
    with pytest.raises(cni.CniError, match="not a CNI result"):
        runtime.add(POD)
    assert plugins.order()[-1] == "DEL bridge"


@pytest.mark.parametrize("output", ["", "panic: nil", "[]", "{}", "null"])
def test_end_without_a_cni_error_is_a_crash(make: Any, output: str) -> None:
    runtime, plugins = make()
    plugins.answers["ADD", "bridge"] = (2, output, "panic: nil\ngoroutine 1")
    with pytest.raises(cni.PluginCrash, match="exit code 2, without a CNI error"):
        runtime.add(POD)


def test_check(make: Any) -> None:
    runtime, plugins = make()
    assert runtime.check(POD, {"by": ["all"]}, ()) is None
    assert plugins.order() == ["CHECK bridge", "CHECK portmap", "CHECK bandwidth"]
    plugins.answers["CHECK", "bandwidth"] = (2, "", "panic")
    assert runtime.check(POD, {}, ()) is None, "a crash says nothing of the pod"
    plugins.answers["CHECK", "portmap"] = (1, '{"code": 999, "msg": "no rule"}', "")
    assert "no rule" in str(runtime.check(POD, {}, ()))
    assert set(runtime.blind(POD, {})) == {"portmap", "bandwidth"}
    assert runtime.check(POD, {}, {"portmap"}) is None


@pytest.mark.parametrize("change", [{"disableCheck": True}, {"cniVersion": "0.3.1"}])
def test_check_that_there_is_not(make: Any, change: dict[str, Any]) -> None:
    runtime, plugins = make(change)
    plugins.answers["CHECK", "bridge"] = (1, '{"code": 999, "msg": "no"}', "")
    assert runtime.check(POD, {}, ()) is None and plugins.asked == []


def test_missing_plugin_at_check_is_no_verdict(make: Any, bin_dir: Path) -> None:
    (bin_dir / "portmap").unlink()
    with pytest.raises(cni.CniError, match="CNI plugin portmap: not installed"):
        make()[0].check(POD, {}, ())


def test_usable_asks_for_versions_only(make: Any) -> None:
    runtime, plugins = make()
    assert runtime.usable() == LIST
    expected = ["bridge", "host-local", "portmap", "bandwidth"]
    assert plugins.order() == [f"VERSION {name}" for name in expected]


@pytest.mark.parametrize(
    ("offered", "spoken", "chosen"),
    [
        (["0.4.0", "1.0.0", "1.1.0"], {}, "1.0.0"),
        (["0.4.0"], {"portmap": ["0.4.0"]}, "0.4.0"),
        (["0.9.0", "0.10.0"], {name: ["0.9.0", "0.10.0"] for name in NAMES}, "0.10.0"),
    ],
)
def test_highest_version_that_all_speak(
    make: Any, offered: list[str], spoken: dict[str, list[str]], chosen: str
) -> None:
    runtime, plugins = make({"cniVersions": offered})
    plugins.spoken = spoken
    usable = runtime.usable()
    assert usable["cniVersion"] == chosen and "cniVersions" not in usable


def test_version_that_a_plugin_does_not_speak(make: Any, bin_dir: Path) -> None:
    runtime, plugins = make({"cniVersion": "1.1.0"})
    plugins.spoken = {"bridge": ["1.0.0", "1.1.0"]}
    with pytest.raises(cni.CniError) as caught:
        runtime.usable()
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"CNI plugin host-local ({bin_dir}/host-local): does not speak the list's version"
    )
    assert lines[1].endswith("cniVersion 1.1.0")
    assert lines[2].endswith("supportedVersions 0.4.0, 1.0.0")
    assert "do:" in lines[3]


@pytest.mark.parametrize("name", NAMES)
def test_missing_plugin_is_found_before_anything_is_done(
    make: Any, bin_dir: Path, name: str
) -> None:
    (bin_dir / name).chmod(0o644)
    runtime, plugins = make()
    with pytest.raises(cni.CniError, match=f"CNI plugin {name}: not installed"):
        runtime.usable()
    assert {command for command, *_ in plugins.asked} <= {"VERSION"}


def test_capability_that_nobody_takes(make: Any) -> None:
    for name in ("ips", "colour"):
        with pytest.raises(cni.CniError, match=f"no plugin takes the capability {name}"):
            make(**{name: 1})[0].usable()


# --- configuration ----------------------------------------------------------------------------


def test_first_name_in_the_folder_counts(tmp_path: Path) -> None:
    for name in ("20-b.conflist", "10-a.conf", "00-not.txt", "99.json"):
        (tmp_path / name).touch()
    assert cni.find_conflist(str(tmp_path)) == str(tmp_path / "10-a.conf")
    for folder in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(cni.CniError, match="no CNI configuration"):
            cni.find_conflist(str(folder))


def test_single_configuration_is_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "10.conf"
    single = {"cniVersion": "1.0.0", "name": "n", "type": "bridge"}
    path.write_text(json.dumps(single), encoding="utf-8")
    expected = {"cniVersion": "1.0.0", "name": "n", "plugins": [single]}
    assert cni.read_conflist(str(path)) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "Expecting property name"),
        ("[]", "list"),
        ('{"name": "n", "plugins": [{"type": "a"}]}', "cniVersion"),
        ('{"cniVersion": "1.0.0", "plugins": [{"type": "a"}]}', "name"),
        ('{"cniVersion": "1.0.0", "name": "n", "plugins": []}', "not empty"),
        ('{"cniVersion": "1.0.0", "name": "n", "plugins": {"type": "a"}}', "not empty"),
        ('{"cniVersion": "1.0.0", "name": "n", "plugins": ["a"]}', r"plugins\[0\]"),
        ('{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "../a"}]}', r"plugins\[0\]"),
    ],
)
def test_file_that_is_no_list(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "10.conflist"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(cni.CniError, match=found) as caught:
        cni.read_conflist(str(path))
    assert str(path) in str(caught.value)
