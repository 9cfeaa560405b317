# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Prove a cloud and print each step as it comes (plugins/modules/cloud_proof.py documents and does it)."""

from __future__ import annotations

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._watched import WatchedAction


class ActionModule(WatchedAction):
    """The module, watched."""

    kind = "cloud_proof"
