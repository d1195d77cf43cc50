# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a way is: one TCP stream to the probe server of a pod, and questions one by one.

Both have bounds, because the network is in use: of time, and of bits per second.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import socket
import statistics
import struct
import time
from typing import Any, Dict, List

from . import namespaces
from .pods import RUN
from .probe_server import STREAM

BLOCK = bytes(1 << 17)
QUESTION = b"how long does this take?"
SILENCE = 2.0  # seconds without an answer, after which there is none
NAP = 0.02


def measured(params: Dict[str, Any]) -> Dict[str, Any]:
    """What the module `way_speed` answers to these parameters; ``failed`` and ``msg`` when it
    cannot. Enters the pod for good."""
    if params["most_mbit"] < 1:
        text = f"most_mbit: expected 1 or more, found {params['most_mbit']}"
        return {"failed": True, "msg": text}
    try:
        namespaces.enter(os.path.join(RUN, params["pod"]))
    except OSError as error:
        text = f"pod {params['pod']} cannot be entered: {error}; start it first"
        return {"failed": True, "msg": text}
    speeds: List[Dict[str, Any]] = []
    for address in params["targets"]:
        try:
            found = measure(address, params["port"], params["seconds"], params["most_mbit"])
            speeds.append(found)
        except (OSError, ValueError, KeyError) as error:
            speeds.append({"error": str(error)})
    return {"speeds": speeds}


def measure(address: str, port: int, seconds: float, most_mbit: int) -> Dict[str, Any]:
    """From the current network namespace. Raises OSError."""
    mbit = throughput(address, port, seconds, most_mbit)
    return {
        "mbit": round(mbit, 1),
        # Within some percent of the limit it is the limit that was measured.
        "limited": mbit > 0.95 * most_mbit,
        "rtt_us": round_trip(address, port, seconds),
    }


def throughput(address: str, port: int, seconds: float, most_mbit: int) -> float:
    """Mbit/s of payload that arrived, as the far side counted it. Raises OSError."""
    sent, began = 0, time.monotonic()
    with socket.create_connection((address, port), timeout=SILENCE) as stream:
        stream.sendall(struct.pack("!I", STREAM))
        while time.monotonic() - began < seconds:
            ahead = sent * 8e-6 / most_mbit - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(min(ahead, NAP))
            else:
                sent += stream.send(BLOCK)
        stream.shutdown(socket.SHUT_WR)
        text = b""
        while not text.endswith(b"\n"):
            more = stream.recv(4096)
            if not more:
                raise OSError("the far side does not say what arrived")
            text += more
    answer = json.loads(text)
    return float(answer["length"]) * 8e-6 / max(float(answer["seconds"]), 1e-6)


def _came(talk: socket.socket, mark: bytes) -> bool:
    """Whether the answer with a mark comes in time, after late ones of earlier questions."""
    try:
        while mark not in talk.recv(4096):
            pass
    except socket.timeout:
        return False
    return True


def round_trip(address: str, port: int, seconds: float) -> int:
    """Median over UDP, in microseconds; what is lost on the way does not count. Raises OSError when
    no answer came."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found: List[float] = []
    end = time.monotonic() + seconds
    with socket.socket(family, socket.SOCK_DGRAM) as talk:
        talk.settimeout(SILENCE)
        talk.connect((address, port))
        for number in itertools.count():
            question = b"%d %s" % (number, QUESTION)
            mark = hashlib.sha256(question).hexdigest().encode()
            began = time.monotonic()
            talk.send(question)
            if _came(talk, mark):
                found.append(time.monotonic() - began)
            if time.monotonic() >= end:
                break
    if not found:
        raise OSError("no answer over UDP")
    return int(statistics.median(found) * 1e6)
