#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The lab gives its nodes their underlay before systemd starts. Here the host does it, as on a real
# node: at boot the interface is bare. Counts with the next boot.
set -e
cat >/etc/systemd/system/bare.service <<'EOF'
[Unit]
DefaultDependencies=no
Before=systemd-networkd.service networking.service
[Service]
Type=oneshot
ExecStart=ip link set eth0 down
ExecStart=ip addr flush dev eth0
ExecStart=sh -c 'ip addr show dev eth0 >/run/bare'
[Install]
WantedBy=sysinit.target
EOF
