"""Where stored targets run: which belong together, to which cluster, on which node. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from cilium_analysis.targets.stored import differing, is_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.targets.replicas import Pair, Verdict
    from cilium_analysis.targets.stored import Row

#: What a row shares with others of its node: a node's name, a pod or an address.
Sign = tuple[str, str]
_CLUSTER = re.compile(r"cluster")


def signs(row: Row) -> Iterator[Sign]:
    """Give everything in the labels of a row that may tell its node."""
    yield from (("node", name) for name in row.nodes)
    if row.pod:
        yield "pod", row.pod
    yield from (("address", address) for address in sorted(row.addresses))


def valid_signs(rows: Sequence[Row]) -> dict[Sign, list[int]]:
    """Find the signs that tell a node, and the rows that have them.

    A sign tells nothing that different agents have at once: the address of a proxy or of a
    federated server, the node of whoever scrapes.

    Parameters
    ----------
    rows
        All stored targets.
    """
    members: dict[Sign, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        for sign in signs(row):
            members[sign].append(number)
    return {sign: found for sign, found in members.items() if not _shared(rows, sign, found)}


def _shared(rows: Sequence[Row], sign: Sign, members: Sequence[int]) -> bool:
    """Tell whether two rows with a sign are of different agents that ran at the same time."""
    alike: dict[object, list[int]] = defaultdict(list)
    for number in members:
        alike[(rows[number].component, rows[number].rest)].append(number)
    for group in alike.values():
        for one, other in combinations(group[:50], 2):
            mine, theirs = (_others(rows[number], sign) for number in (one, other))
            apart = any(mine[k] and theirs[k] and not mine[k] & theirs[k] for k in mine)
            if apart and rows[one].concurrent(rows[other]):
                return True
    return False


def _others(row: Row, sign: Sign) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"node": set(), "pod": set(), "address": set()}
    for kind, value in signs(row):
        if (kind, value) != sign:
            found[kind].add(value)
    return found


def cluster_labels(rows: Sequence[Row], verdicts: Mapping[Pair, Verdict]) -> tuple[str, ...]:
    """Name the labels that tell clusters apart; none where there is one cluster.

    Parameters
    ----------
    rows
        All stored targets.
    verdicts
        As from `replicas.judge`: agents that share an address or a name are of different
        clusters, unless they are one. What is not known to be one is kept apart.
    """
    apart = [_rest(rows, pair) for pair, verdict in verdicts.items() if verdict != "same"]
    twice = {n for p, verdict in verdicts.items() if verdict == "same" for n in _rest(rows, p)}
    chosen: set[str] = set()
    for names in apart:
        free = (names - twice) or names
        if free and not free & chosen:
            # A label that is called so, else one that tells most of them apart.
            chosen.add(min(free, key=lambda n: (not _CLUSTER.search(n), -_times(n, apart), n)))
    named = {n for row in rows for n, _ in row.rest if _CLUSTER.search(n)} - twice
    for name in sorted(named):
        values = {row.labels.get(name, "") for row in rows if row.component != "operator"} - {""}
        if len(values) > 1 and not chosen:
            chosen.add(name)
    return tuple(sorted(chosen))


def _rest(rows: Sequence[Row], pair: Pair) -> frozenset[str]:
    one, other = (rows[number] for number in pair)
    shown = {name for name, _ in one.rest ^ other.rest}
    return frozenset(shown & differing(one, other))


def _times(name: str, sets: Sequence[frozenset[str]]) -> int:
    return sum(name in names for names in sets)


def together(
    rows: Sequence[Row], valid: Mapping[Sign, Sequence[int]], clusters: Sequence[str]
) -> list[int]:
    """Give each row the number of its node: rows of one cluster that share a sign share it.

    Parameters
    ----------
    rows
        All stored targets.
    valid
        As from `valid_signs`.
    clusters
        As from `cluster_labels`.

    Returns
    -------
    list of int
        The number of the node of each row. Operators are nodes of their own.
    """
    parent = list(range(len(rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for sign, members in valid.items():
        first: dict[object, int] = {}
        passed_on = sign[0] == "address" and _passed_on(rows, members)
        for number in members:
            row = rows[number]
            key = (row.component == "operator", *_of(row, clusters))
            if passed_on:
                key = (*key, *row.nodes[:1])
            parent[root(number)] = root(first.setdefault(key, number))
    return [root(number) for number in range(len(rows))]


def _passed_on(rows: Sequence[Row], members: Sequence[int]) -> bool:
    """Tell whether one node after another had an address: another name, and another pod."""
    named = [rows[number] for number in members if rows[number].nodes]
    return any(
        one.component == other.component
        and one.rest == other.rest
        and (not one.pod or one.pod != other.pod)
        and not any(_same_name(a, b) for a in one.nodes for b in other.nodes)
        and not one.concurrent(other)
        for one, other in combinations(named[:50], 2)
    )


def _same_name(one: str, other: str) -> bool:
    """Tell whether two names are one, with and without its domain."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def of_one_name(
    rows: Sequence[Row], node_ids: Sequence[int], nodes: Sequence[str], *, clusters: Sequence[str]
) -> list[int]:
    """Give rows of one name the same number, where agents and Hubble have nothing else in common.

    The agents may go by their hosts and Hubble by addresses, and kube-state-metrics knows both.

    Parameters
    ----------
    rows, node_ids, nodes
        Stored targets, and the number and the name of the node of each.
    clusters
        Labels that tell clusters apart.
    """
    components: dict[int, set[str]] = defaultdict(set)
    owners: dict[object, set[int]] = defaultdict(set)
    for row, node, node_id in zip(rows, nodes, node_ids, strict=True):
        if node and row.component != "operator":
            components[node_id].add(row.component)
            owners[(*_of(row, clusters), node)].add(node_id)
    one: dict[int, int] = {}
    for found in owners.values():
        of_each = [components[node_id] for node_id in found]
        if sum(map(len, of_each)) == len(set().union(*of_each)):
            one |= dict.fromkeys(found, min(found))
    return [one.get(node_id, node_id) for node_id in node_ids]


@dataclass(frozen=True)
class Names:
    """What other metrics tell of nodes.

    Parameters
    ----------
    of_rows
        Names that agents give their own node, by the number of the row.
    of_pods
        Nodes of pods by name, from kube-state-metrics.
    of_addresses
        Names of nodes by address (``cluster/address`` with several clusters), from
        kube-state-metrics, as far as they are consistent.
    """

    of_rows: Mapping[int, str]
    of_pods: Mapping[str, str]
    of_addresses: Mapping[str, str]


def name(
    rows: Sequence[Row],
    node_ids: Sequence[int],
    valid: Mapping[Sign, object],
    known: Names,
    *,
    clusters: Sequence[str],
) -> list[str]:
    """Name the node of each row.

    A label that names the node comes first, then what an agent calls its own node, then
    kube-state-metrics by pod and by address. Where nothing names the node, its address stands for
    it, else its pod; where there is neither, the name is empty.

    Parameters
    ----------
    rows, node_ids, valid
        As above.
    known
        What else is known.
    clusters
        Labels that tell clusters apart.
    """
    votes: dict[int, list[Counter[str]]] = defaultdict(lambda: [Counter() for _ in range(6)])
    for number, (row, node_id) in enumerate(zip(rows, node_ids, strict=True)):
        told = (
            [n for n in row.nodes if ("node", n) in valid][:1],
            [known.of_rows.get(number, "")],
            [known.of_pods.get(_bare(row.pod), "") if ("pod", row.pod) in valid else ""],
            [
                known.of_addresses.get("/".join([*_of(row, clusters), address]), "")
                for address in row.addresses
                if ("address", address) in valid
            ],
            [a for a in sorted(row.addresses, key=_by_kind) if ("address", a) in valid][:1],
            [_bare(row.pod) if ("pod", row.pod) in valid else ""],
        )
        for votes_of_kind, names in zip(votes[node_id], told, strict=True):
            votes_of_kind.update(n for n in names if n)
    chosen = {
        node_id: next((_winner(kind) for kind in kinds if kind), "")
        for node_id, kinds in votes.items()
    }
    return [chosen[node_id] for node_id in node_ids]


def _bare(pod: str) -> str:
    return pod.rpartition("/")[2]


def cluster_of(row: Row, clusters: Sequence[str]) -> str:
    """Name the cluster of a row. Agents and Hubble may tell it by labels of different names."""
    return "/".join(_of(row, clusters))


def _of(row: Row, clusters: Sequence[str]) -> list[str]:
    return [row.labels[name] for name in clusters if row.labels.get(name)]


def _by_kind(address: str) -> tuple[bool, str]:
    return (not is_address(address), address)


def _winner(votes: Counter[str]) -> str:
    return min(votes, key=lambda name: (-votes[name], name))


def distinct_names(
    rows: Sequence[Row], node_ids: Sequence[int], nodes: Sequence[str], *, clusters: Sequence[str]
) -> list[str]:
    """Write the cluster before a node's name, and tell different nodes of one name apart.

    Parameters
    ----------
    rows, node_ids, nodes
        Stored targets, and the number and the name of the node of each.
    clusters
        Labels that tell clusters apart.
    """
    several = len({cluster_of(row, clusters) for row in rows}) > 1
    found = []
    for row, node in zip(rows, nodes, strict=True):
        cluster = cluster_of(row, clusters)
        found.append(f"{cluster}/{node}" if several and cluster else node)
    owners: dict[str, set[int]] = defaultdict(set)
    for row, node, node_id in zip(rows, found, node_ids, strict=True):
        if row.component != "operator":
            owners[node].add(node_id)
    marks = [_bare(row.pod) or next(iter(sorted(row.addresses)), "") for row in rows]
    return [
        f"{node} ({mark})" if node and mark not in ("", node) and len(owners[node]) > 1 else node
        for node, mark in zip(found, marks, strict=True)
    ]
