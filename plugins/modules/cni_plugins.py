#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cni_plugins
short_description: Install CNI plugins on a node, from a package or an archive
version_added: 0.1.0
description:
  - With O(package), has the node's package manager (apt-get or dnf) install it.
  - Without, checks an archive against its SHA-256 on the controller and sends it over the open
    connection. Its programs are installed; links and other files of it are not.
  - Needs tar and base64 on the node for an archive, and no Python and no internet.
options:
  package:
    description: Name of the distribution's package, with a version if need be.
    type: str
  src:
    description: Path on the controller, or URL, of the archive.
    type: str
    default: ""
  sha256:
    description: SHA-256 of the archive; without it no archive is used.
    type: str
    default: ""
extends_documentation_fragment:
  - podnet.fabric.output_dir
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The content is binary.
  idempotent:
    support: none
    details: Call it where plugins are missing; the role C(converge) does.
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Send the archive of CNI plugins
  podnet.fabric.cni_plugins:
    src: files/cni-plugins-linux-amd64-v1.9.0.tgz
    sha256: "{{ checksum }}"
"""

RETURN = r"""
{}
"""
