"""Limits of memory and time for a worker and the kernels that it started.

Dask measures only the memory of the worker's process, but most of what a report needs is in the
kernels of its notebooks. And nothing can stop a thread of a worker, but its kernels can be killed.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil

from cilium_analysis.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Time between two checks [s].
PAUSE = 0.1
#: Time between two searches for children [s]: a search takes 50 times as long as to measure those
#: that are known, and a new kernel is busy with imports meanwhile.
KNOWN = 1.0
#: Kernels are killed so long after the deadline: the client of a server gives up first [s].
LATER = 15.0


class Limit:
    """Limits of a process and its children, and which of them was exceeded.

    Parameters
    ----------
    most
        Memory of the process and its children [bytes]; 0 is no limit.
    seconds
        Time until the children are killed, without `LATER` [s].
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self.exceeded = self.late = False
        self._until = time.monotonic() + seconds + LATER
        self._children: list[psutil.Process] = []
        self._found = -KNOWN

    @property
    def reason(self) -> str:
        """Which limit was exceeded, in words; empty if none was."""
        if self.late:
            passed = format_duration(timedelta(seconds=self.seconds))
            return f"notebooks were stopped, as the deadline of {passed} has passed"
        if not self.exceeded:
            return ""
        return (
            f"a notebook was stopped at the worker's memory limit of {self.most / 2**20:,.0f} MiB"
        )

    def check(self) -> None:
        """Kill the largest child if all together have too much, and all when time is up."""
        own = psutil.Process(os.getpid())
        if (now := time.monotonic()) - self._found >= KNOWN:
            self._children, self._found = own.children(recursive=True), now
        if now > self._until:
            self.late = self.late or bool(self._children)
            for child in self._children:
                child.kill()
            return
        if not self.most or not self._children:
            return
        if _used(own) + sum(map(_used, self._children)) <= self.most:
            return
        # Forked kernels share much memory; to measure how much takes a hundred times as long.
        children = {child: _share(child) for child in self._children}
        if _share(own) + sum(children.values()) > self.most:
            self.exceeded = True
            max(children, key=lambda child: children[child]).kill()


@contextmanager
def limited(most: int, seconds: float) -> Iterator[Limit]:
    """Keep this process and its children below the limits for as long as a block lasts.

    Parameters
    ----------
    most, seconds
        As of `Limit`.

    Yields
    ------
    Limit
        Tells whether a child had to be killed.
    """
    limit = Limit(most, seconds)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PAUSE):
            try:
                limit.check()
            except psutil.NoSuchProcess:  # it has ended on its own
                continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield limit
    finally:
        done.set()
        thread.join()


def _used(process: psutil.Process) -> int:
    """Give the memory that is the process's own; files that it shares with others are not."""
    try:
        info = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(info.rss - getattr(info, "shared", 0))


def _share(process: psutil.Process) -> int:
    """Give the same, and its part of what it shares with what it was forked from."""
    try:
        info = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(getattr(info, "pss", info.uss))
