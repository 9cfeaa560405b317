# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Run a module of this collection and print what it does as it comes: a module itself cannot stream.

The module writes a line for each thing that it has done (plugins/module_utils/_progress.py); while it runs, a second session on
the same connection reads them.
"""

from __future__ import annotations

import json
import secrets
import shlex
import threading
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.events import printable
from ansible_collections.seedcloud.openstack.plugins.module_utils._progress import ENDED, progress_file

display = Display()

# Ask at most once a second, on the host itself, whether there is more than was read, and come back with it.
_MORE = """
n=0
while [ $n -lt {seconds} ]; do
  [ "$(stat -c %s {path} 2>/dev/null || echo 0)" -gt {read} ] && break
  sleep 1; n=$((n + 1))
done
tail -c +{next} {path} 2>/dev/null || true
"""
_POLL = 10  # seconds that one question may wait for an answer


class WatchedAction(ActionBase):
    """The module `kind` of this collection, and beside it a reader of its progress."""

    kind: str
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        name = f"seedcloud.openstack.{self.kind}"
        if self._task.check_mode:
            result |= self._execute_module(module_name=name, task_vars=task_vars)
            return result
        token, done = secrets.token_hex(8), threading.Event()
        host = str((task_vars or {}).get("inventory_hostname", ""))
        reader = threading.Thread(target=self._follow, args=(host, progress_file(self.kind, token), done), daemon=True)
        reader.start()
        try:
            args = {**self._task.args, "progress": token}
            result |= self._execute_module(module_name=name, module_args=args, task_vars=task_vars)
            return result
        finally:
            done.set()
            reader.join(_POLL + 5)

    def _follow(self, host: str, path: str, done: threading.Event) -> None:
        """Print lines until the module says that it has ended. That nothing can be read is no reason to fail."""
        read, text = 0, ""
        while True:
            last = done.is_set()  # what was written before this is read once more
            more = self._more(path, read, 0 if last else _POLL)
            read, text = read + len(more.encode()), text + more
            *lines, text = text.split("\n")
            for line in lines:
                if line == ENDED:
                    return
                display.display(printable(_for_people(host, line)))
            if last:
                return
            if not more:
                done.wait(1)

    def _more(self, path: str, read: int, seconds: int) -> str:
        command = _MORE.format(path=shlex.quote(path), read=read, next=read + 1, seconds=seconds)
        try:
            # Not by become: that would meet the module's own, which is under way on this connection.
            return str(self._low_level_execute_command(command, sudoable=False).get("stdout", ""))
        except AnsibleError:
            return ""  # the module's own session says what is wrong


def _for_people(host: str, line: str) -> str:
    try:
        told = json.loads(line)
        at = f"+{told['at']:.0f}s"
        return f"{host}  {at:>7}  {told['text']}"
    except (ValueError, TypeError, KeyError):
        return f"{host}  {line}"
