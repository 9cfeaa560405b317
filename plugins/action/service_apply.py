# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Apply a plan and print what it changes as it comes (plugins/modules/service_apply.py documents and does it)."""

from __future__ import annotations

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._watched import WatchedAction


class ActionModule(WatchedAction):
    """The module, watched."""

    kind = "service_apply"
