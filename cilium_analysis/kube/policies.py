"""Network policies, Cilium's and Kubernetes' own -> rows of tables. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.kube.fields import (
    at,
    condition,
    moment,
    number,
    objects,
    pairs,
    text,
    texts,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_analysis.kube.rows import Row

_DIRECTIONS = ("egress", "ingress")
_PROTOCOLS = ("dns", "http", "kafka")


def cilium_policy(kind: str) -> Callable[[Mapping[str, object]], Row]:
    """Give what reads a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy."""

    def read(thing: Mapping[str, object]) -> Row:
        specs = [one for one in (at(thing, "spec"),) if isinstance(one, dict)]
        specs += [dict(one) for one in objects(thing, "specs")]
        denies = any(objects(spec, f"{way}Deny") for spec in specs for way in _DIRECTIONS)
        return _common(thing, kind, "f:spec", "f:specs") | {
            "directions": ",".join(way for way in _DIRECTIONS if _applies(specs, way)),
            "l7": ",".join(sorted({one for spec in specs for one in _l7(spec)})),
            "denies": denies,
            "selects": "; ".join(_selected(spec) for spec in specs),
            "valid": text(condition(thing, "Valid"), "status"),
        }

    return read


def network_policy(thing: Mapping[str, object]) -> Row:
    """Read a NetworkPolicy of networking.k8s.io."""
    ways = {way.lower() for way in texts(thing, "spec", "policyTypes")}
    if not ways:
        # What the API's own defaults say.
        ways = {"ingress"} | ({"egress"} if objects(thing, "spec", "egress") else set())
    return _common(thing, "NetworkPolicy", "f:spec") | {
        "directions": ",".join(way for way in _DIRECTIONS if way in ways),
        "l7": "",
        "denies": False,
        "selects": selector(at(thing, "spec", "podSelector")),
        "valid": "",
    }


def selector(thing: object) -> str:
    """Write a label selector as ``kubectl --selector`` reads it; ``*`` selects everything.

    Parameters
    ----------
    thing
        With ``matchLabels`` and ``matchExpressions``.
    """
    equal = [f"{name}={value}" for name, value in pairs(thing, "matchLabels").items()]
    return ",".join(equal + [_expression(e) for e in objects(thing, "matchExpressions")]) or "*"


def _expression(thing: Mapping[str, object]) -> str:
    key, values = text(thing, "key"), ",".join(texts(thing, "values"))
    operator = text(thing, "operator")
    known = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})"}
    return (known | {"Exists": key, "DoesNotExist": f"!{key}"}).get(operator, f"{key} {operator}")


def _common(thing: Mapping[str, object], kind: str, *parts: str) -> Row:
    created = moment(thing, "metadata", "creationTimestamp")
    return {
        "kind": kind,
        "namespace": text(thing, "metadata", "namespace"),
        "name": text(thing, "metadata", "name"),
        "created": created,
        "changed": written(thing, *parts),
        "generation": number(thing, "metadata", "generation"),
    }


def _applies(specs: Sequence[Mapping[str, object]], way: str) -> bool:
    return any(objects(spec, way) or objects(spec, f"{way}Deny") for spec in specs)


def _l7(spec: Mapping[str, object]) -> set[str]:
    """Name the protocols whose contents a policy's rules look into."""
    rules = [
        at(port, "rules")
        for way in _DIRECTIONS
        for rule in objects(spec, way)
        for port in objects(rule, "toPorts")
    ]
    known = {name for name in _PROTOCOLS for rule in rules if at(rule, name)}
    return known | {found for rule in rules if (found := text(rule, "l7proto"))}


def _selected(spec: Mapping[str, object]) -> str:
    """Write what a rule applies to; only rules for hosts say so."""
    if isinstance(spec.get("nodeSelector"), dict):
        return f"nodes: {selector(spec['nodeSelector'])}"
    return selector(spec.get("endpointSelector"))
