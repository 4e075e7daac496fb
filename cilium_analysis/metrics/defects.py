"""What Cilium's own metrics are known to count wrong, and in which versions.

Only faults of counting are in the table; renamed metrics and labels are in ``metrics.csv``, and
what surprises about a metric that counts right is in `cilium_analysis.metrics.traps`.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Major, minor, patch; and whether it is a release, so that ``1.20.0-rc.1`` is before ``1.20.0``.
Release = tuple[int, int, int, bool]

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?P<rest>.*)")
_BEFORE_RELEASE = re.compile(r"[-.+]?(alpha|beta|dev|pre|rc|snapshot)", re.IGNORECASE)


@dataclass(frozen=True)
class Defect:
    """A fault of some versions of Cilium that makes metrics wrong.

    Parameters
    ----------
    issue
        Such as ``cilium#46584``; empty where none is known.
    since, until
        The first version that has it, and the first that no longer does; empty if there is none
        such, or none is known.
    metrics
        Names of the metrics that are wrong.
    condition
        When they are, beside the version; empty if always.
    symptom
        What is wrong, in words.
    instead
        What other evidence to use.
    accounted
        Whether what is read here accounts for it, so that the reports' numbers are right.
    """

    issue: str
    since: str
    until: str
    metrics: frozenset[str]
    condition: str
    symptom: str
    instead: str
    accounted: bool

    def concerns(self, version: str) -> bool:
        """Tell whether a version has it; False if the version cannot be read."""
        found = release(version)
        if found is None:
            return False
        since, until = release(self.since), release(self.until)
        return (since is None or since <= found) and (until is None or found < until)

    @property
    def versions(self) -> str:
        """The versions that have it, in words."""
        if self.since and self.until:
            return f"{self.since} up to before {self.until}"
        if self.since:
            return f"{self.since} and later"
        return f"before {self.until}" if self.until else "all versions"

    def told(self, versions: Sequence[str] = ()) -> str:
        """Say what is wrong, and what to use instead.

        Parameters
        ----------
        versions
            Those in use that have it; all that have it if none is given.
        """
        which = ", ".join(versions) if versions else self.versions
        issue = f" ({self.issue})" if self.issue else ""
        when = f", {self.condition}" if self.condition else ""
        names = ", ".join(sorted(self.metrics))
        return f"Cilium {which}{issue}{when}: {self.symptom} ({names}). Use {self.instead}."

    @property
    def brief(self) -> str:
        """What is wrong and in which versions, as a part of a sentence."""
        where = filter(None, (self.versions, self.condition, self.issue))
        return f"{self.symptom} ({', '.join(where)})"


@cache
def known() -> tuple[Defect, ...]:
    """Give all defects that are known."""
    text = files("cilium_analysis.metrics").joinpath("defects.csv").read_text(encoding="utf-8")
    return tuple(
        Defect(
            **{name: row[name] for name in ("issue", "since", "until", "condition", "symptom")},
            metrics=frozenset(row["metrics"].split(";")),
            instead=row["instead"],
            accounted=row["accounted"] == "yes",
        )
        for row in csv.DictReader(text.splitlines())
    )


def applying(versions: Iterable[str], metrics: Iterable[str]) -> tuple[Defect, ...]:
    """Give the defects of these metrics that any of these versions has.

    Parameters
    ----------
    versions
        As ``cilium_version`` tells them; those that cannot be read have none.
    metrics
        Names without the endings of a histogram's series.
    """
    versions, metrics = tuple(versions), frozenset(metrics)
    return tuple(
        defect
        for defect in known()
        if defect.metrics & metrics and any(defect.concerns(version) for version in versions)
    )


def notes(versions: Iterable[str], metrics: Iterable[str]) -> list[str]:
    """Say which defects make the numbers of a report wrong.

    Parameters
    ----------
    versions
        As for `applying`. Where none can be read, it is said which versions would be concerned.
    metrics
        Those that the report shows.

    Returns
    -------
    list of str
        One note per defect, or one in all where the version is not known. Defects that the
        reports account for are left out.
    """
    versions, metrics = tuple(versions), frozenset(metrics)
    if any(release(version) for version in versions):
        return [
            "Known defect of "
            + defect.told(sorted({v for v in versions if defect.concerns(v)}, key=_order))
            for defect in applying(versions, metrics)
            if not defect.accounted
        ]
    possible = [d.brief for d in known() if d.metrics & metrics and not d.accounted]
    if not possible:
        return []
    return [f"The version of Cilium is not in the data; in some, {'; or '.join(possible)}."]


def release(version: str) -> Release | None:
    """Read a version such as ``1.19.7`` or ``v1.20.0-rc.1``; None if it is none."""
    found = _VERSION.match(version.strip())
    if not found:
        return None
    final = not _BEFORE_RELEASE.match(found["rest"])
    return int(found[1]), int(found[2]), int(found[3] or 0), final


def _order(version: str) -> Release:
    return release(version) or (0, 0, 0, False)
