# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that stays on a node between the stages of a verification, and answers questions.

It is a fork of the program that has started the probe pods, with all code loaded, so that what
comes after costs a node neither an interpreter nor its imports. It is asked through two named
pipes, which any shell can use (`for_helper` of the controller's `node_python.py`). It ends with the
pods; a forgotten one by itself.
"""

from __future__ import annotations

import binascii
import errno
import json
import os
import signal
import time
import zlib
from typing import Any, Callable, Dict

from . import machine, namespaces

MARK = "@@podnet answers "
READER_SECONDS = 10.0
Answers = Callable[[Dict[str, Any]], Dict[str, Any]]


def stay(folder: str, seconds: int, answers: Answers) -> None:
    """Leave a process that answers in ``folder``, which is there, for at most ``seconds``. Raises
    OSError."""
    for name in ("ask", "answer"):
        os.mkfifo(os.path.join(folder, name), 0o600)

    def known(pid: int) -> None:
        with open(os.path.join(folder, "helper"), "w", encoding="ascii") as stream:
            stream.write(f"{pid} {machine.started_at(pid)}\n")

    def begun() -> Callable[[], None]:
        return lambda: _serve(folder, seconds, answers)

    namespaces.start(namespaces.forked(begun, os.path.join(folder, "helper.log")), known)


def dismiss(folder: str) -> None:
    """End the process of ``folder``, if there is one and it is another than ours."""
    try:
        with open(os.path.join(folder, "helper"), encoding="ascii") as stream:
            pid, started = stream.read().split()
    except (OSError, ValueError):
        return
    if int(pid) != os.getpid():
        machine.kill({"pid": int(pid), "started": started})


def _serve(folder: str, seconds: int, answers: Answers) -> None:
    """One question after the other, each a line, until the folder is gone."""
    signal.alarm(seconds)
    # For both directions, so that nobody waits to open it, and no end of who wrote is seen here.
    ask = os.open(os.path.join(folder, "ask"), os.O_RDWR | os.O_CLOEXEC)
    with os.fdopen(ask, encoding="ascii", buffering=1) as questions:
        while os.path.isdir(folder):
            line = questions.readline()
            try:
                with os.fdopen(_reader(os.path.join(folder, "answer")), "w") as stream:
                    stream.write(f"\n{MARK}{json.dumps(_answer(line, answers))}\n")
            except OSError:
                continue  # who has asked is gone; the next one may not be


def _answer(line: str, answers: Answers) -> Dict[str, Any]:
    """With the question's ``state``: who comes after somebody that did not wait must not take that
    one's answer for theirs."""
    question: Dict[str, Any] = {}
    try:
        question = json.loads(zlib.decompress(binascii.a2b_base64(line)))
        found = answers(question)
    except Exception as error:  # told as an observation; the helper stays
        found = {"failed": True, "msg": f"{type(error).__name__}: {error}"}
    return {**found, "state": question.get("state")}


def _reader(path: str) -> int:
    """The pipe's end for writing, once somebody reads; opened before the work is done, because a
    folder that is removed takes its pipes along. Raises OSError."""
    end = time.monotonic() + READER_SECONDS
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > end:
                raise
            time.sleep(0.002)
            continue
        os.set_blocking(handle, True)
        return handle
