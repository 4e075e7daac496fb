"""Notes and caveats about targets, for readers of the numbers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.targets.naming import signs
from cilium_analysis.targets.stored import differing, is_address
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cilium_analysis.targets.replicas import Pair, Verdict
    from cilium_analysis.targets.stored import Row

#: Most names in a list; of the others, only their number is written.
MOST_NAMED = 6


def notes(rows: Sequence[Row], table: pd.DataFrame, clusters: Sequence[str]) -> tuple[str, ...]:
    """Return notes on clusters, replicas and names of nodes.

    Parameters
    ----------
    rows, table
        Stored targets, and the same as `Targets.table`.
    clusters
        Labels that tell clusters apart.
    """
    said = []
    names = sorted(set(table.loc[table["component"] != "operator", "cluster"]) - {""})
    if len(names) > 1:
        label = " and ".join(f"`{name}`" for name in clusters)
        said.append(
            f"The metrics are of {len(names)} clusters, told apart by {label}:"
            f" {listed(names)}. Nodes are written as cluster/node."
        )
    copies = table[table["replica_of"] >= 0]
    if len(copies):
        apart = {
            label
            for number, twin in copies["replica_of"].items()
            for label in differing(rows[int(str(number))], rows[int(twin)])
        }
        said.append(
            f"{len(copies):,} targets are stored more than once; the copies differ in"
            f" {listed([f'`{label}`' for label in sorted(apart)])}. Each target counts once."
        )
    agents = table[(table["component"] == "agent") & (table["node"] != "")]
    short = agents[["node", "pod"]].map(lambda text: str(text).rpartition("/")[2])
    if any(map(is_address, short["node"])):
        said.append("Nodes go by their addresses: no label in the data tells their names.")
    elif ((short["node"] == short["pod"]) & (short["pod"] != "")).any():
        said.append("Nodes go by the pods of their agents: no label in the data tells the nodes.")
    return tuple(said)


def unread(reason: str) -> tuple[str, ...]:
    """Return a note if the server does not read the native histograms that it stores."""
    if not reason:
        return ()
    return (
        "Histograms are stored as native ones, and the server does not read them"
        f" ({reason}): durations are unknown unless they are stored as classic ones too.",
    )


def caveats(
    rows: Sequence[Row],
    table: pd.DataFrame,
    pairs: Sequence[Pair],
    verdicts: Mapping[Pair, Verdict],
    *,
    unmerged: bool,
) -> tuple[str, ...]:
    """Return what is unknown about the targets, and the consequences.

    Parameters
    ----------
    rows, table
        As above.
    pairs, verdicts
        Stored targets that may be one, and whether they are.
    unmerged
        Whether targets are stored more than once, and no label selects each of them once.
    """
    said = []
    open_ = [pair for pair in pairs if verdicts[pair] == "unknown"]
    if open_:
        one, other = (rows[number] for number in open_[0])
        label = sorted(differing(one, other))[0]
        values = [value for value in (one.labels.get(label), other.labels.get(label)) if value]
        said.append(
            f"Whether `{label}` tells two clusters apart, or two copies of one, cannot be told:"
            " both are counted. Choose one with"
            f" --match '{label}=\"{(values or [''])[0]}\"'."
        )
    nameless = [
        row for row in rows if row.component != "operator" and not (any(signs(row)) or row.own)
    ]
    if nameless:
        said.append(
            "No label tells the targets apart (instance, pod and node were aggregated away, or"
            " never stored): no node can be named, and where a sum of counters falls, a node may"
            " have left."
        )
    elif (table.loc[table["component"] == "agent", "node"] == "").any():
        said.append(
            "Which node some targets are on is not known: no label names node, pod or address."
        )
    if unmerged:
        said.append(
            "No label tells the copies of all targets apart: sums that the server makes may count"
            " a target twice."
        )
    return tuple(said)


def refused(problems: Mapping[str, str], kinds: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each kind of target that the server refused to list.

    Parameters
    ----------
    problems
        The reason, by component, or ``up``.
    kinds
        Kinds to name.
    """
    shown = {"agent": "of agents", "hubble": "of Hubble", "operator": "of operators", "up": "in up"}
    return tuple(
        f"The server refused to list the targets {shown[kind]}: {clipped(line(why), 300)}"
        for kind, why in problems.items()
        if kind in kinds
    )


def listed(names: Sequence[str]) -> str:
    """Write the first few names, and the number of the others."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
