# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `reflector`, for docs/sizing.md: what a route reflector carries with N clients: FRR's zebra
and bgpd in one network namespace, and N iBGP sessions of BIRD in another, each from an address of
its own and with one prefix. `make bench T=reflector`; needs the packages frr and bird2.

Each measurement is a process of its own: `bench_reflector.py NODES` prints one row as JSON.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sizing import CLIENTS, measure

FRR = Path("/usr/lib/frr")
# Keepalive and hold time in seconds: FRR's own defaults. With short ones a busy machine loses
# sessions while a thousand come up at once, and what is measured is that.
TIMERS = (60, 180)
IDLE = 60  # seconds of looking at what keepalives alone cost
REFLECTOR = "172.16.0.1"
FIRST = ipaddress.ip_address("172.16.1.0")
# BIRD has one session at a time with an address, so the reflector has one for each of them.
FACES = ipaddress.ip_address("172.24.0.0")
PODS = ipaddress.ip_address("10.64.0.0")
BGPD = f"""router bgp 65000
 bgp router-id {REFLECTOR}
 no bgp default ipv4-unicast
 neighbor nodes peer-group
 neighbor nodes remote-as 65000
 neighbor nodes timers {TIMERS[0]} {TIMERS[1]}
 bgp listen limit 65535
 bgp listen range 172.16.0.0/12 peer-group nodes
 address-family ipv4 unicast
  neighbor nodes activate
  neighbor nodes route-reflector-client
 exit-address-family
"""


def clients(count: int) -> str:
    """BIRD's configuration: what a client is sent it reads and drops."""
    parts = [f"router id {FIRST};", "protocol device {}", "protocol static pods { ipv4;"]
    parts += [f"  route {PODS + 256 * i}/24 blackhole;" for i in range(count)]
    parts.append("}")
    keep, hold = TIMERS
    for i in range(count):
        parts.append(
            # FRR takes two clients of one router id for one that connects again.
            f"protocol bgp n{i} {{ router id {FIRST + i}; direct;"
            f" local {FIRST + i} as 65000; neighbor {FACES + i} as 65000;"
            f" keepalive time {keep}; hold time {hold}; connect delay time 1;"
            f" ipv4 {{ import none; export where net = {PODS + 256 * i}/24; next hop self; }}; }}"
        )
    return "\n".join(parts) + "\n"


@contextlib.contextmanager
def spaces(count: int) -> Iterator[tuple[str, str]]:
    """Two network namespaces with a wire between them; the second has an address per client."""
    one, two = (f"podnet-sizing-{os.getpid()}-{name}" for name in ("rr", "nodes"))
    try:
        for name in (one, two):
            subprocess.run(["ip", "netns", "add", name], check=True)
        wire = [
            "ip",
            "-n",
            one,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            two,
        ]
        subprocess.run(wire, check=True)
        up = "link set lo up\nlink set eth0 up\n"
        faces, lines = (
            "".join(f"addr add {first + i}/12 dev eth0\n" for i in range(count))
            for first in (FACES, FIRST)
        )
        batches = ((one, f"addr add {REFLECTOR}/12 dev eth0\n{faces}{up}"), (two, lines + up))
        for name, text in batches:
            command = ["ip", "-n", name, "-batch", "-"]
            subprocess.run(command, input=text, text=True, check=True)
        yield one, two
    finally:
        for name in (one, two):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextlib.contextmanager
def running(space: str, words: list[str]) -> Iterator[int]:
    """A daemon in the foreground; its process number. Ended with the block."""

    def files() -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    command = ["ip", "netns", "exec", space, *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=files)
    try:
        yield process.pid
    finally:
        # It has nothing to keep, and may take long to say goodbye to a thousand clients.
        process.kill()
        process.wait(timeout=60)


def spent(pid: int) -> float:
    """Seconds of CPU of a process so far (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"process {pid} has ended")


def moved(pid: int) -> int:
    """Bytes in and out of eth0, as a process's network namespace counts them."""
    for line in Path(f"/proc/{pid}/net/dev").read_text(encoding="ascii").splitlines():
        name, _colon, rest = line.partition(":")
        if name.strip() == "eth0":
            return int(rest.split()[0]) + int(rest.split()[8])
    raise SystemExit("no eth0")


def peers(folder: Path) -> list[dict[str, Any]]:
    command = ["vtysh", "--vty_socket", str(folder), "-c", "show bgp ipv4 unicast summary json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: dict[str, dict[str, Any]] = json.loads(done.stdout)["peers"]
    except (ValueError, KeyError):
        return []
    return [peer for peer in found.values() if peer["state"] == "Established"]


def converged(folder: Path, count: int) -> bool:
    """Every client is there, and has been sent the prefixes of all."""
    up = peers(folder)
    return len(up) == count and all(peer["pfxSnt"] >= count - 1 for peer in up)


def observe(folder: Path, count: int) -> dict[str, Any]:
    (folder / "zebra.conf").write_text("", encoding="ascii")
    (folder / "bgpd.conf").write_text(BGPD, encoding="ascii")
    (folder / "bird.conf").write_text(clients(count), encoding="ascii")
    # FRR's daemons give up root for the user that the package made.
    shutil.chown(folder, "frr", "frr")
    common = ["--vty_socket", str(folder), "-z", f"{folder}/zserv.api"]

    def daemon(name: str) -> list[str]:
        files = ["-f", f"{folder}/{name}.conf", "-i", f"{folder}/{name}.pid"]
        return [str(FRR / name), *files, *common]

    bird = ["bird", "-f", "-c", f"{folder}/bird.conf", "-s", f"{folder}/bird.ctl"]
    with contextlib.ExitStack() as stack:
        reflector, nodes = stack.enter_context(spaces(count))
        zebra = stack.enter_context(running(reflector, daemon("zebra")))
        bgpd = stack.enter_context(running(reflector, daemon("bgpd")))
        time.sleep(2)
        begun = time.monotonic()
        stack.enter_context(running(nodes, bird))
        while not converged(folder, count):
            if time.monotonic() - begun > 600:
                raise SystemExit(f"{len(peers(folder))} of {count} sessions after 600 seconds")
            time.sleep(0.5)
        row: dict[str, Any] = {"nodes": count, "sessions": len(peers(folder))}
        row |= {"converged": round(time.monotonic() - begun, 1), "bytes": moved(bgpd)}
        row |= {"bgpd_cpu": spent(bgpd), "zebra_cpu": spent(zebra)}
        time.sleep(IDLE)
        row["idle_cpu"] = round((spent(bgpd) - row["bgpd_cpu"]) / IDLE, 4)
        row["idle_bytes"] = round((moved(bgpd) - row["bytes"]) / IDLE)
        row |= {"bgpd_rss": peak(bgpd), "zebra_rss": peak(zebra)}
        assert len(peers(folder)) == count, "sessions were lost while nothing happened"
        return row


def main(count: int) -> dict[str, Any]:
    """One row: seconds, bytes, and shares of a core while idle."""
    missing = [name for name in ("vtysh", "bird", str(FRR / "bgpd")) if not shutil.which(name)]
    if missing:
        raise SystemExit(f"not here: {', '.join(missing)}; install the packages frr and bird2")
    with tempfile.TemporaryDirectory(prefix="podnet-sizing-") as name:
        return observe(Path(name), count)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(main(int(sys.argv[1]))))
    else:
        measure("reflector", [(str(n),) for n in CLIENTS])
