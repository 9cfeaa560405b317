# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The drivers by their names. Each is imported when it is asked for: no node pays for another's library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import MissingLibraryError

if TYPE_CHECKING:
    from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import Bmc

NAMES = ("ipmi",)


def driver(name: str) -> type[Bmc]:
    if name == "ipmi":
        from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.ipmi import MISSING, IpmiBmc

        if MISSING:
            raise MissingLibraryError("pyghmi", MISSING)
        return IpmiBmc
    raise KeyError(name)
