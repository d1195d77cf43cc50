#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# systemd-networkd has the underlay, from the next boot on.
set -e
cd /etc/systemd/system
rm -f systemd-networkd.service systemd-networkd-wait-online.service
cat >../network/10-eth0.network <<EOF
[Match]
Name=eth0
[Network]
IPv6AcceptRA=no
$(ip -o addr show dev eth0 scope global | sed 's/.*inet6* \([^ ]*\).*/Address=\1/')
$( (ip -4 route; ip -6 route) | sed -n 's/^default via \([^ ]*\).*/Gateway=\1/p')
EOF
printf '[Match]\nName=mgmt0\n[Link]\nUnmanaged=yes\n' >../network/20-mgmt0.network
systemctl daemon-reload
systemctl -q enable bare systemd-networkd systemd-networkd-wait-online
