# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of podnet's for a node's Python, as a shell text, and the answer to it. Pure.

A module that Ansible sends costs a node some 300 ms of CPU and the controller 65: Ansible's part of
the archive has to be packed, unpacked and imported. Here a node gets the modules of
`plugins/module_utils` and the parameters, and no Ansible, over the same connections as shell texts
(`exchange.py`). Only what is imported is compiled.
"""

from __future__ import annotations

import base64
import json
import shlex
import textwrap
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MARK = "@@podnet answers "
# Of its own, so that nothing which is installed on the node is taken for it.
PACKAGE = "podnet_sent"
# Where `helper.py` waits on a node while probe pods are there.
HELPER = "/run/podnet/verify"
# Longer than probing can take; only a helper that was killed in the middle lets anybody wait.
HELPER_SECONDS = 300
# Reads two lines: the sources by name, and what is called with which parameters. Python's own
# helpers for such loaders import more than all of podnet's modules do.
LOADER = f"""
import binascii, json, sys, zlib
from importlib.machinery import ModuleSpec
def unpacked():
    return json.loads(zlib.decompress(binascii.a2b_base64(sys.stdin.readline())))
sources, question = unpacked(), unpacked()
class Sent:
    def find_spec(name, path=None, target=None):
        if name in sources:
            return ModuleSpec(name, Sent, is_package=name == "{PACKAGE}")
    def create_module(spec):
        return None
    def exec_module(module):
        code = compile(sources[module.__name__], module.__name__, "exec", dont_inherit=True)
        exec(code, module.__dict__)
sys.meta_path.insert(0, Sent)
__import__("{PACKAGE}." + question["module"])
module = sys.modules["{PACKAGE}." + question["module"]]
answer = getattr(module, question["function"])(question["params"])
print("\\n{MARK}" + json.dumps(answer), flush=True)
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
    question = {"module": module, "function": function, "params": params}
    given = f"{_packed_sources(sources)}\n{_packed(question)}"
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


def for_helper(params: Mapping[str, Any]) -> str:
    """The shell text that asks the helper which `probe_pods` has left; its answer has the ``state``
    of the question. Nothing is answered where there is none."""
    # One that has ended and that nobody has reaped has a number, and no program.
    there = f'cd {HELPER} && read -r pid started <helper && [ -e "/proc/$pid/exe" ]'
    return (
        f"{{ {there}; }} 2>/dev/null || exit 1\n"
        f"printf '%s\\n' '{_packed(params)}' 1<>ask && exec timeout {HELPER_SECONDS} cat answer\n"
    )


def answer(rc: int, stdout: str, stderr: str) -> dict[str, Any]:
    """What the function returned; else ``failed`` with the last that the node said, as a module's
    result has it."""
    _before, found, text = stdout.rpartition(f"\n{MARK}")
    if found:
        try:
            said = json.loads(text.splitlines()[0])
        except (LookupError, RecursionError, ValueError):
            said = None
        if isinstance(said, dict):
            return said
        return {"failed": True, "msg": f"an answer that cannot be read: {text[:80]!r}"}
    lines = [line.strip() for line in (stderr.strip() or stdout.strip()).splitlines()]
    why = lines[-1] if lines else "nothing was said"
    return {"failed": True, "msg": f"Python 3.8 or newer gave no answer (exit code {rc}): {why}"}


def reason(failed: Mapping[str, Any], most: int = 300) -> str:
    """Why an answer is none, in one line."""
    return _whole_words(" ".join(_why(failed).split()), most)


def under(failed: Mapping[str, Any], most: int = 1200) -> str:
    """The same in the lines that it was said in, to stand below another."""
    return textwrap.indent(_whole_words(_why(failed), most), "    ")


def _why(failed: Mapping[str, Any]) -> str:
    return str(failed.get("msg") or "").strip() or "the node gave no observation"


def _whole_words(text: str, most: int) -> str:
    """A node may say anything at any length."""
    if len(text) <= most:
        return text
    whole, blank, rest = text[:most].rpartition(" ")
    return f"{whole if blank else rest} …"
