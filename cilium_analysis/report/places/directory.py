"""Reports in a directory of this machine, or of a file system that it has mounted."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import OutputError
from cilium_analysis.report import output, retention

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta
    from pathlib import Path


class Directory:
    """As `cilium_analysis.report.places.Place`.

    Parameters
    ----------
    path
        Of all runs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        """Make the directory."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise OutputError(f"cannot write to {self._path}: {output.why(problem)}") from None

    def new_run(
        self,
        name: str,
        *,
        began: datetime,
        replaces: bool = False,
        kept: output.Kept | None = None,
    ) -> AbstractContextManager[Path]:
        """Give a temporary directory beside the others."""
        return output.new_run(self._path, name, began=began, replaces=replaces, kept=kept)

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """Give the directory of the run itself."""
        yield self._path / name

    def run(self, name: str) -> dict[str, Any] | None:
        """Read the ``run.json`` of a run."""
        return output.read_run(self._path / name / "run.json")

    def runs(self) -> list[dict[str, Any]]:
        """Read those of all."""
        return output.runs_in(self._path)

    def holds(self, name: str) -> bool:
        """Tell whether there is something of this name."""
        return (self._path / name).exists()

    def write_pages(self, pages: Mapping[str, str]) -> None:
        """Write each under a temporary name first."""
        temporary = self._path / f".fleet-{token_hex(3)}"
        for name, text in pages.items():
            try:
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(self._path / name)
            except OSError as problem:
                reason = output.why(problem)
                raise OutputError(f"cannot write {self._path / name}: {reason}") from None
            finally:
                temporary.unlink(missing_ok=True)

    def clear(self, names: Collection[str]) -> None:
        """Remove the temporary directories of runs, but for those of tries that still go on."""
        for name in names:
            for path in self._path.glob(f".{name}.*"):
                with output.claimed(path) as held, suppress(OSError):
                    if held:
                        shutil.rmtree(path)

    def keep_in_order(
        self,
        *,
        keep: timedelta | None,
        made: Collection[str],
        tell: Callable[[str], None],
    ) -> None:
        """Write ``index.html``, and prune."""
        retention.keep_in_order(self._path, keep=keep, made=made, tell=tell)
