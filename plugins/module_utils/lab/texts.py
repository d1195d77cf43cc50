# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts and configuration files of a lab, as text (pure)."""

from __future__ import annotations

import json
import shlex
from typing import Mapping, Sequence

from .topology import LabNode, Topology

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# A new network namespace takes IPv4 settings from the machine: without this, "the role enables
# forwarding" would pass for free. Values are the kernel's own defaults (ip-sysctl.rst), except
# rp_filter of `default` and the interfaces, which is what systemd sets (50-default.conf).
FRESH_SYSCTLS = """
cd /proc/sys/net
echo 0 >ipv4/ip_forward
for d in ipv4/conf/*; do
  for k in accept_local accept_source_route arp_accept arp_announce arp_filter arp_ignore \\
      arp_notify forwarding log_martians proxy_arp rp_filter route_localnet src_valid_mark; do
    echo 0 >"$d/$k"
  done
  for k in accept_redirects secure_redirects send_redirects shared_media; do
    echo 1 >"$d/$k"
  done
  [ "$d" = ipv4/conf/all ] || echo 2 >"$d/rp_filter"
done
if [ -d ipv6 ]; then
  for d in ipv6/conf/all ipv6/conf/default; do
    echo 0 >"$d/disable_ipv6"; echo 0 >"$d/forwarding"; echo 1 >"$d/accept_ra"
  done
fi
"""

# The router forwards, and drops packets whose source it has no route to, as routers do. Bridged
# frames must not pass iptables of the router: bridge-nf-call defaults to 1 in a new namespace.
ROUTER_SYSCTLS = """
cd /proc/sys/net
echo 1 >ipv4/ip_forward
[ ! -d ipv6 ] || echo 1 >ipv6/conf/all/forwarding
for d in all default; do echo 1 >ipv4/conf/$d/rp_filter; done
[ ! -d ipv6 ] || echo 0 >ipv6/conf/default/accept_dad
for f in iptables ip6tables arptables; do
  [ ! -e bridge/bridge-nf-call-$f ] || echo 0 >bridge/bridge-nf-call-$f
done
"""

# In the node's network namespace, else still on the machine.
PLUG = (
    "set -eu\nfolder=$1\n(\n"
    + FRESH_SYSCTLS
    + ")\n"
    + r"""
# The underlay is there at once; what podnet and pods make later keeps the kernel's default.
for link in eth0 mgmt0; do
  [ ! -d /proc/sys/net/ipv6 ] || echo 0 >/proc/sys/net/ipv6/conf/$link/accept_dad
done
ip -batch "$folder/port.batch"
"""
)

# The first child of the inner shell is process 1 of the new PID namespace; nothing stays on the
# machine beside it.
START = (
    PLUG
    + r"""
exec unshare --mount --uts --ipc --pid --propagation private sh -c \
  'setsid sh "$1/boot.sh" "$@" </dev/null >>"$1/console.log" 2>&1 &' sh "$@"
"""
)

# /proc/sys is read-only but for the network, which is the node's own; the rest is the machine's.
READ_ONLY = """
mount --bind proc/sys/net proc/sys/net
mount --rbind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
"""

# Process 1 of a node until it is sshd or systemd: builds the node's file system and enters it.
# Paths are relative, because overlayfs gives commas and colons in its options a meaning.
BOOT = (
    r"""set -eu
cd "$1"
name=$2 init=$3 cgroup=$4 rootfs=$5
echo "$name" >/proc/sys/kernel/hostname
mount --bind -- "$rootfs" lower
tries=0
until mount -t overlay podnet-lab -o lowerdir=lower,upperdir=upper,workdir=work root; do
  tries=$((tries + 1))
  [ "$tries" -lt 50 ] || exit 1
  sleep 0.1
done
mount -t proc proc root/proc
mount -t sysfs sysfs root/sys
mount --bind dev root/dev
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts root/dev/pts
mount -t tmpfs -o mode=1777 shm root/dev/shm
mount -t mqueue mqueue root/dev/mqueue || :
mount -t tmpfs -o mode=0755,size=64m run root/run
mount -t tmpfs -o mode=1777 tmp root/tmp
mkdir -p root/run/sshd root/run/lock root/run/netns
(cd root
"""
    + READ_ONLY
    + r""")
enter='
set -eu
cd root
if [ "$1" = systemd ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount -o remount,bind,ro sys
fi
pivot_root . mnt
exec chroot . /bin/sh /etc/podnet-lab/init'
if [ "$init" = systemd ]; then
  mount -t cgroup2 cgroup2 cgroup
  mkdir -p "cgroup/$cgroup"
  echo 0 >"cgroup/$cgroup/cgroup.procs"
  umount cgroup
  exec unshare --cgroup sh -c "$enter" sh "$init"
fi
exec sh -c "$enter" sh "$init"
"""
)

# A container is there before its network: it waits until it is plugged in.
START_CONTAINER = PLUG + ': >"$folder/plugged"\n'

EXEC_SYSTEMD = (
    r"""for systemd in /usr/lib/systemd/systemd /lib/systemd/systemd; do
  [ ! -x "$systemd" ] || exec env -i %s container="$container" "$systemd"
done
echo no systemd in this root file system
exit 1
"""
    % PATH
)

# Process 1 of a container until it is systemd. The layer goes over the image once, from within,
# because only there links of the image lead where they should, and after the engine's own mounts in
# /etc have gone. The cgroup hierarchy is version 2 from the container's own place down, whatever
# the machine mounts: systemd would begin hierarchies of version 1 for all of the machine.
BOOT_CONTAINER = (
    r"""set -eu
cd /
until [ -e /podnet-lab/plugged ]; do sleep 0.05; done
for name in hosts hostname resolv.conf; do umount "/etc/$name" 2>/dev/null || :; done
if [ ! -e /etc/podnet-lab/whole ]; then
  while read -r name; do rm -rf -- "$name"; done </podnet-lab/hidden
  tar -C /podnet-lab/upper --exclude=./dev --exclude=./proc --exclude=./run --exclude=./sys \
    --exclude=./tmp -cf - . | tar -C / --no-overwrite-dir -xf -
  # Without PAM, sshd refuses an account whose password is locked by "!".
  sed -i 's/^root:!/root:*/' /etc/shadow
  : >/etc/podnet-lab/whole
fi
mkdir -p /run/lock /run/netns
"""
    + READ_ONLY
    + r"""
umount -R /sys/fs/cgroup
export container="$1"
exec unshare --cgroup sh -c '
set -eu
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -o remount,bind,ro /sys
"""
    + EXEC_SYSTEMD
    + """'
"""
)

# /etc/podnet-lab/init inside a node. sshd reaps every child that ends (its SIGCHLD handler calls
# waitpid for any), so that it can be process 1 although pods leave orphans.
INIT_SSHD = (
    r"""umount -l /mnt
cd /
# What the boot unit does on a node with systemd.
unit=/etc/systemd/system/multi-user.target.wants/podnet.service
if [ -e "$unit" ] || [ -L "$unit" ]; then
  /usr/local/sbin/podnet-node restore </dev/null || echo 'podnet-node restore failed'
fi
exec env -i %s /usr/sbin/sshd -D -e -f /etc/podnet-lab/sshd_config
"""
    % PATH
)

INIT_SYSTEMD = "umount -l /mnt\ncd /\ncontainer=podnet-lab\n" + EXEC_SYSTEMD

SSHD = """Port 22
HostKey /etc/podnet-lab/host_ed25519
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 200:30:400
MaxSessions 100
PidFile none
Subsystem sftp internal-sftp
"""

SSHD_UNIT = """[Unit]
Description=SSH server of the lab
After=network.target

[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -f /etc/podnet-lab/sshd_config
KillMode=process
Restart=always

[Install]
WantedBy=multi-user.target
"""

JOURNALD = "[Journal]\nStorage=volatile\nForwardToConsole=no\n"

# What would touch the machine's devices, or the interfaces that the lab has set up.
MASKED = (
    "console-getty.service",
    "getty.target",
    "networking.service",
    "ssh.service",
    "ssh.socket",
    "systemd-firstboot.service",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-networkd-wait-online.service",
    "systemd-remount-fs.service",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "dev-hugepages.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "proc-sys-fs-binfmt_misc.automount",
)

# What podnet or a container runtime may have left on the machine is not the node's.
HIDDEN = (
    "/etc/podnet",
    "/etc/cni",
    "/etc/containerd",
    "/etc/nologin",
    "/var/lib/cni",
    "/var/lib/podnet",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/kubelet",
    "/usr/local/sbin/podnet-node",
    "/etc/iproute2/rt_protos.d/podnet.conf",
)

# These start empty in a node that shares the machine's root: the machine's own settings, units
# and personal files are not a fresh node's. Path and mode.
EMPTY = (
    ("/etc/sysctl.d", 0o755),
    ("/etc/modules-load.d", 0o755),
    ("/etc/systemd/system", 0o755),
    ("/etc/systemd/network", 0o755),
    ("/root", 0o700),
    ("/var/tmp", 0o1777),
)


def hosts(node: str, topology: Topology) -> str:
    """/etc/hosts of one node: every node by name, under its underlay addresses."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", f"127.0.1.1 {node}"]
    for other in topology.nodes:
        if other.name != node:
            lines += [f"{address} {other.name}" for address in other.addresses]
    return "\n".join(lines) + "\n"


def ssh_config(folder: str, nodes: Sequence[LabNode], addresses: Mapping[str, str]) -> str:
    """OpenSSH client configuration: a node by its name or by its underlay addresses.

    ``addresses`` are the management addresses. Every path is quoted, and ``%`` doubled.
    """
    path = folder.replace("%", "%%")
    blocks = [
        f"Host {' '.join([node.name, *node.addresses])}\n  HostName {addresses[node.name]}\n"
        for node in nodes
    ]
    return "".join(blocks) + (
        "Host *\n  User root\n"
        f'  IdentityFile "{path}/id_ed25519"\n  IdentitiesOnly yes\n'
        f'  UserKnownHostsFile "{path}/known_hosts"\n  GlobalKnownHostsFile none\n'
        "  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
        "  ServerAliveInterval 5\n  ServerAliveCountMax 3\n"
        # The default of OpenSSH 9.2 costs the client seven times the processor time.
        "  KexAlgorithms curve25519-sha256\n"
    )


def control_path(ident: str) -> str:
    """Ansible's sockets of open connections; the lab's own, as Ansible names them by host only."""
    return f"~/.ansible/cp/lab-{ident}"


def ansible_variables(folder: str, ident: str) -> str:
    """Variables that point any inventory at the lab: `ansible-playbook -e @<lab>/vars.json`."""
    variables = {
        "ansible_ssh_common_args": f"-F {shlex.quote(folder + '/ssh_config')}",
        "ansible_control_path_dir": control_path(ident),
        "ansible_host": "{{ inventory_hostname }}",
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    return json.dumps(variables, indent=1) + "\n"


def known_hosts(addresses: Mapping[str, str], host_key: str) -> str:
    """One line per node; the nodes of a lab share a host key."""
    key = " ".join(host_key.split()[:2])
    return "".join(f"{address} {key}\n" for address in addresses.values())
