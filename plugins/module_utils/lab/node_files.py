# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a lab node: its boot script, its sshd, the client's configuration."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
from typing import Dict

from . import naming
from .topology import LabNode

# A new network namespace inherits these from the machine: without a reset "the role enables
# forwarding" would pass for free. rp_filter as systemd sets it (sysctl.d/50-default.conf).
FRESH_SYSCTLS = """
cd /proc/sys/net
for f in all default; do
  echo 0 >ipv4/conf/$f/forwarding; echo 0 >ipv4/conf/$f/rp_filter
  echo 0 >ipv6/conf/$f/forwarding; echo 1 >ipv6/conf/$f/accept_ra
  echo 0 >ipv6/conf/$f/disable_ipv6
done
echo 0 >ipv4/ip_forward; echo 2 >ipv4/conf/default/rp_filter
"""

# The router forwards, and drops packets from sources it has no route back to, as routers do.
ROUTER_SYSCTLS = """
cd /proc/sys/net
echo 1 >ipv4/ip_forward; echo 1 >ipv6/conf/all/forwarding
echo 1 >ipv4/conf/all/rp_filter; echo 1 >ipv4/conf/default/rp_filter
for f in iptables ip6tables arptables; do
  [ ! -e bridge/bridge-nf-call-$f ] || echo 0 >bridge/bridge-nf-call-$f
done
"""

# What podnet or a container runtime may have left on the machine is not the node's.
HIDDEN = (
    "/etc/podnet /etc/cni /etc/containerd /var/lib/cni /var/lib/podnet /var/lib/containerd "
    "/usr/local/sbin/podnet-node /etc/iproute2/rt_protos.d/podnet.conf "
    "/etc/systemd/system/podnet.service /root/.ansible "
    "/etc/systemd/system/multi-user.target.wants/podnet.service"
)

SSHD = """Port 22
HostKey /etc/ssh/podnet_lab_host_ed25519
AuthorizedKeysFile /etc/ssh/podnet_lab_authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 200
MaxSessions 100
PidFile none
Subsystem sftp internal-sftp
"""

# In new mount, UTS, IPC and PID namespaces. The shell stays process 1: `wait` reaps whatever
# pods leave behind, which sshd as process 1 would not do.
BOOT = r"""set -eu
mount --make-rprivate /
cd {folder}
mount -t overlay podnet-lab -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=0755,size=64m tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/sshd run/lock run/netns
if [ ! -e etc/podnet-lab ]; then
  for f in {hidden}; do rm -rf "./$f"; done
  cp {lab}/host_ed25519 etc/ssh/podnet_lab_host_ed25519
  chmod 600 etc/ssh/podnet_lab_host_ed25519
  cp {lab}/id_ed25519.pub etc/ssh/podnet_lab_authorized_keys
  cp {folder}/sshd_config etc/ssh/podnet_lab_sshd_config
  echo {name} >etc/hostname
  printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' {name} >etc/hosts
  echo {machine_id} >etc/machine-id
  : >etc/podnet-lab
fi
hostname {name}
pivot_root . mnt
cd /
umount -l /mnt
{init}
"""

# What the boot unit does, done here for a node without systemd.
INIT_SSHD = """
if [ -L /etc/systemd/system/multi-user.target.wants/podnet.service ]; then
  /usr/local/sbin/podnet-node restore || echo 'podnet-node restore failed'
fi
/usr/sbin/sshd -D -e -f /etc/ssh/podnet_lab_sshd_config &
wait $!
"""

INIT_SYSTEMD = """
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cat >/etc/systemd/system/podnet-lab-sshd.service <<'UNIT'
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/podnet_lab_sshd_config
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sfn ../podnet-lab-sshd.service \
  /etc/systemd/system/multi-user.target.wants/podnet-lab-sshd.service
ln -sfn /lib/systemd/system/multi-user.target /etc/systemd/system/default.target
for unit in systemd-udevd.service systemd-networkd.service systemd-modules-load.service \
    systemd-sysctl.service ssh.service ssh.socket networking.service getty.target \
    systemd-remount-fs.service systemd-udev-trigger.service; do
  ln -sfn /dev/null /etc/systemd/system/$unit
done
export container=podnet-lab
exec /lib/systemd/systemd
"""


def boot_script(ident: str, folder: str, node: LabNode) -> str:
    """What runs as the node's first process."""
    values = {
        "folder": shlex.quote(folder),
        "lab": shlex.quote(os.path.dirname(os.path.dirname(folder))),
        "hidden": HIDDEN,
        "name": shlex.quote(node.name),
        "machine_id": naming.machine_id(ident, node.name),
        "init": INIT_SYSTEMD if node.init == "systemd" else INIT_SSHD,
    }
    text = BOOT
    for key, value in values.items():
        text = text.replace("{" + key + "}", value)
    return text


def prepare(lab: str, folder: str, ident: str, node: LabNode) -> None:
    """Files that the boot script copies into the node."""
    write(os.path.join(folder, "sshd_config"), SSHD)
    # overlayfs refuses a work folder that another, dead mount has used.
    work = os.path.join(folder, "work")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)


def ssh_config(lab: str, addresses: Dict[str, str]) -> str:
    """The client's configuration: any inventory's host names lead to the lab's nodes."""
    text = "".join(f"Host {name}\n  HostName {addr}\n" for name, addr in addresses.items())
    return text + (
        "Host *\n  User root\n"
        f'  IdentityFile "{lab}/id_ed25519"\n  IdentitiesOnly yes\n'
        f'  UserKnownHostsFile "{lab}/known_hosts"\n  GlobalKnownHostsFile none\n'
        "  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
        # The default of OpenSSH 9.2 costs the client seven times the processor time.
        "  KexAlgorithms curve25519-sha256\n"
    )


def ansible_variables(lab: str, ident: str) -> str:
    """Variables that point any inventory at the lab: `ansible-playbook -e @<lab>/vars.json`.

    The control path must be the lab's own: Ansible names the sockets of its open connections by
    host name only, and would go on talking to another node of the same name.
    """
    variables = {
        "ansible_ssh_common_args": f"-F {shlex.quote(lab + '/ssh_config')}",
        "ansible_control_path_dir": f"~/.ansible/cp/lab-{ident}",
        "ansible_host": "{{ inventory_hostname }}",
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    return json.dumps(variables, indent=1) + "\n"


def write(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(path + ".new", path)


def answers(address: str) -> bool:
    """Whether sshd sends its banner."""
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
