# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded lab: throw-away nodes on one machine.

topology, naming, batches, texts and changes are pure; host is the seam to the machine; layer,
nodes, underlay and runtime do the work.
"""
