# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of podnet's for a node's Python, as a shell text, and the answer to it. Pure.

A module that Ansible sends costs a node some 300 ms of CPU and the controller 65: Ansible's part of
the archive has to be packed, unpacked and imported. Here a node gets the modules of
`plugins/module_utils` and the parameters, and no Ansible, over the same connections as shell texts
(`exchange.py`). Only what is imported is compiled.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MARK = "@@podnet answers "
# Of its own, so that nothing which is installed on the node is taken for it.
PACKAGE = "podnet_sent"
# While probe pods are there; a node's own, and gone with them.
COMPILED = "/run/podnet/verify"
# Reads two lines: the sources by name, and what is called with which parameters. What was compiled
# is kept for the next call, where there is a place for it.
LOADER = f"""
import base64, importlib, importlib.abc, importlib.util, json, marshal, os, sys, zlib
def unpacked():
    return json.loads(zlib.decompress(base64.b64decode(sys.stdin.readline())))
sources, question = unpacked(), unpacked()
kept = "{COMPILED}/" + question["sources"] + importlib.util.MAGIC_NUMBER.hex()
codes, new = {{}}, []
try:
    with open(kept, "rb") as stream:
        codes = marshal.load(stream)
except (OSError, EOFError, TypeError, ValueError):
    pass
class Sent(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name in sources else None
    def get_source(self, name):
        return sources[name]
    def get_code(self, name):
        if name not in codes:
            codes[name] = compile(sources[name], name, "exec", dont_inherit=True)
            new.append(name)
        return codes[name]
    def is_package(self, name):
        return name == "{PACKAGE}"
sys.meta_path.insert(0, Sent())
module = importlib.import_module("{PACKAGE}." + question["module"])
answer = getattr(module, question["function"])(question["params"])
print("\\n{MARK}" + json.dumps(answer), flush=True)
if new and os.path.isdir("{COMPILED}"):
    with open(kept + ".new", "wb") as stream:
        marshal.dump(codes, stream)
    os.replace(kept + ".new", kept)
"""


def script(
    sources: tuple[tuple[str, str], ...], call: str, params: Mapping[str, Any], python: str = ""
) -> str:
    """The shell text.

    Args:
        sources: (name, text) of the modules.
        call: ``module.function``; the function takes the parameters and returns what JSON has.
        python: the interpreter that Ansible was told of; empty: the node's own.
    """
    module, function = call.split(".")
    packed = _packed_sources(sources)
    digest = hashlib.sha256(packed.encode()).hexdigest()[:16]
    call_of = {"module": module, "function": function, "sources": digest}
    given = f"{packed}\n{_packed({**call_of, 'params': params})}"
    # Without the site's packages, which nothing here needs and which take a while to look for.
    run = f"-I -S -c {shlex.quote(LOADER)} <<'END'\n{given}\nEND\n"
    if python:
        return f"{shlex.join(shlex.split(python))} {run}"
    return (
        "for python in /usr/bin/python3 python3; do "
        'command -v "$python" >/dev/null 2>&1 && break; done\n'
        f'"$python" {run}'
    )


@lru_cache(maxsize=2)
def _packed_sources(sources: tuple[tuple[str, str], ...]) -> str:
    """The same for all nodes of a run."""
    return _packed({PACKAGE: ""} | {f"{PACKAGE}.{name}": text for name, text in sources})


def _packed(data: Mapping[str, Any]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(data).encode())).decode()


def unpacked(line: str) -> Any:
    """The other way round."""
    return json.loads(zlib.decompress(base64.b64decode(line)))


def answer(rc: int, stdout: str, stderr: str) -> dict[str, Any]:
    """What the function returned; else ``failed`` with the last that the node said, as a module's
    result has it."""
    _before, found, text = stdout.rpartition(f"\n{MARK}")
    if found:
        said: dict[str, Any] = json.loads(text.splitlines()[0])
        return said
    lines = [line.strip() for line in (stderr.strip() or stdout.strip()).splitlines()]
    why = lines[-1] if lines else "nothing was said"
    return {"failed": True, "msg": f"Python 3.8 or newer gave no answer (exit code {rc}): {why}"}
