"""How calls of tools run: how long, how many at a time, and what is told when they fail."""

from __future__ import annotations

import traceback
from contextlib import contextmanager, suppress
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
from mcp.server.mcpserver.exceptions import ToolError

from cilium_analysis.errors import CiliumAnalysisError, OutOfMemory
from cilium_analysis.mcp import results
from cilium_analysis.times import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Found = TypeVar("Found")

#: Calls that are answered at the same time; others wait, within their deadline.
AT_ONCE = 2
#: A call is given up so long after its deadline: the client of a server ends first, and says why.
LATER = 3.0


class Calls:
    """Answers calls in threads.

    Parameters
    ----------
    seconds
        How long a call may take [s].
    debug
        Whether traces of unexpected errors are written to the standard error.
    """

    def __init__(self, *, seconds: float, debug: bool = False) -> None:
        self.seconds, self.debug = seconds, debug
        self._places = anyio.CapacityLimiter(AT_ONCE)

    async def answer(self, ask: Callable[[], Found]) -> Found:
        """Answer within the deadline, the wait for a place among the others included.

        A call that is given up keeps its place until its thread ends, which takes time and memory.

        Raises
        ------
        ToolError
            If it fails, or is given up: one line.
        """
        mine = object()

        def leave() -> None:
            self._places.release_on_behalf_of(mine)

        with _told(debug=self.debug):
            with anyio.move_on_after(self.seconds + LATER):
                await self._places.acquire_on_behalf_of(mine)
                return await _in_thread(ask, leave)
            limit = format_duration(parse_duration(f"{self.seconds:g}s"))
            raise ToolError(f"given up after the deadline of {limit}: ask for a shorter window")


@contextmanager
def _told(*, debug: bool) -> Iterator[None]:
    """Turn errors into one line for the caller; of an unexpected one only its kind is told."""
    try:
        yield
    except ToolError:
        raise
    except CiliumAnalysisError as problem:
        raise ToolError(results.text(problem)) from None
    except MemoryError:
        raise ToolError(str(OutOfMemory())) from None
    except Exception as problem:
        if debug:
            traceback.print_exception(problem)
        hint = "--debug shows where, on the standard error of the server"
        raise ToolError(f"unexpected {type(problem).__name__} ({hint})") from None


async def _in_thread(ask: Callable[[], Found], leave: Callable[[], None]) -> Found:
    """Run a call in a thread that neither a cancelled call nor the end of the process waits for.

    Parameters
    ----------
    ask
        The call.
    leave
        Is called when the thread ends, whether anybody still waits for it or not.
    """
    done = anyio.Event()
    outcome: list[tuple[Found | None, BaseException | None]] = []
    token = anyio.lowlevel.current_token()

    def ended() -> None:
        leave()
        done.set()

    def run() -> None:
        try:
            outcome.append((ask(), None))
        except BaseException as problem:
            outcome.append((None, problem))
        with suppress(BaseException):  # the server has ended, and nobody waits any more
            anyio.from_thread.run_sync(ended, token=token)

    Thread(target=copy_context().run, args=(run,), daemon=True, name="call").start()
    await done.wait()
    found, problem = outcome[0]
    if problem is not None:
        raise problem
    return found  # type: ignore[return-value]
