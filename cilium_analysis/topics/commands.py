"""Commands in the next steps of findings, complete, to be copied to a terminal. Pure.

Topics write them as short as Cilium's documentation does, in backticks: ``cilium-dbg bpf nat list``
is a command of the agent, and ``POD`` stands for its pod.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cilium_analysis.source import iso

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

#: What runs in the agent's container: Cilium's own programs, and what shows the node's network.
_OF_AGENT = ("cilium-dbg ", "cilium-health ", "ip ")
_CODE = re.compile(r"`([^`]+)`")
_LOGS, _TAIL = re.compile(r"kubectl (-n \S+ )?logs "), re.compile(r" --tail=\d+")
#: A name that Kubernetes takes for a node (RFC 1123), and no address: nothing else goes into a
#: command, as a label may hold anything.
_NODE = re.compile(r"(?![0-9.]+$)[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_WORKLOAD = re.compile(r"([a-z0-9][-a-z0-9.]{0,251}/)?[a-zA-Z0-9][-a-zA-Z0-9._]{0,251}")
#: Cilium's own program is called ``cilium`` before this version (release notes of 1.15).
_RENAMED = (1, 15)


def complete(
    text: str,
    *,
    node: str = "",
    versions: Sequence[str] = (),
    past: tuple[datetime, datetime] | None = None,
) -> str:
    """Complete the commands in a next step, so that they can be copied.

    Parameters
    ----------
    text
        With commands in backticks.
    node
        On which the agent is asked; any agent if it is no name of a node.
    versions
        Of Cilium, as far as they are known.
    past
        Start and end of what is over: commands that take a time ask about that time.
    """
    pod = "ds/cilium"
    if name := node_of(node):
        where = f"-l k8s-app=cilium --field-selector spec.nodeName={name}"
        pod = f"$(kubectl -n kube-system get pod {where} -o name)"
    old = bool(versions) and all(_number(each) < _RENAMED for each in versions)

    def whole(found: re.Match[str]) -> str:
        command = found[1].replace(" POD", f" {pod}")
        if command.startswith(_OF_AGENT):
            run = f"kubectl -n kube-system exec {pod} -c cilium-agent --"
            command = f"{run} {command.replace('cilium-dbg', 'cilium') if old else command}"
        return f"`{_of_time(command, *past) if past else command}`"

    return _CODE.sub(whole, text)


def _of_time(command: str, start: datetime, end: datetime) -> str:
    """Make a command that shows what is newest ask about a time, if it takes one."""
    if command.startswith("hubble observe"):
        return f"{command} --since {iso(start)} --until {iso(end)}"
    if _LOGS.match(command) and "--previous" not in command:
        # All lines since then: of what a selector finds, kubectl shows the last ten.
        return f"{_TAIL.sub('', command)} --tail=-1 --since-time={iso(start)}"
    return command


def node_of(name: str) -> str:
    """Give the name of a node, without its cluster, if it can be part of a command."""
    last = name.rpartition("/")[2]
    return last if _NODE.fullmatch(last) else ""


def plain(name: str) -> str:
    """Give a name for the text of a next step, where it makes no command."""
    return name.replace("`", "'")


def workload(name: str) -> str:
    """Give the name of a workload if it can be part of a command, otherwise nothing."""
    return name if _WORKLOAD.fullmatch(name) else ""


def pods_of(name: str) -> str:
    """Write the command that lists the pods beside a workload, to stand behind a word.

    Parameters
    ----------
    name
        As ``namespace/workload``; nothing is written if it is none.
    """
    namespace, slash, _ = workload(name).partition("/")
    return f" (`kubectl -n {namespace} get pods -o wide`)" if slash else ""


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:2])
