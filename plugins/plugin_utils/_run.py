# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The run of Ansible that an action plugin works for."""

from __future__ import annotations

import os

from ansible.errors import AnsibleActionFail


class Run:
    """Ansible's worker processes have sessions of their own: a kill of the run leaves them at work, with another parent."""

    def __init__(self) -> None:
        self._parent = os.getppid()

    def must_live(self) -> None:
        """End what works for nobody any more."""
        if os.getppid() != self._parent:
            raise AnsibleActionFail("The run that this was done for was killed")
