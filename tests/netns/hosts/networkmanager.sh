#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# NetworkManager, which takes bridges and veth pairs for its own unless it is told.
set -e
mkdir -p /etc/NetworkManager/conf.d
printf '[keyfile]\nunmanaged-devices=interface-name:mgmt0\n' >/etc/NetworkManager/conf.d/mgmt.conf
printf '[device]\nmatch-device=interface-name:cbr*,interface-name:veth*\nmanaged=1\n' \
  >/etc/NetworkManager/conf.d/90-all.conf
systemctl -q enable NetworkManager
