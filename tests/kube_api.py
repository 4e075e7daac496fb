"""A stand-in for a Kubernetes API server: real HTTP, recorded objects, pages, rights, faults.

It lists what it is given, in pages that all show one state; a token for the rest of an older
state has expired, as in a real server.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.faults import Answerer, Reply, Request, Stub, packed, text

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

DATA = Path(__file__).parent / "data" / "k8s"
CORE, CILIUM = "/api/v1", "/apis/cilium.io/v2"
PATHS = {
    "Event": f"{CORE}/events",
    "Namespace": f"{CORE}/namespaces",
    "Node": f"{CORE}/nodes",
    "Pod": f"{CORE}/pods",
    "Service": f"{CORE}/services",
    "CiliumNetworkPolicy": f"{CILIUM}/ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": f"{CILIUM}/ciliumclusterwidenetworkpolicies",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
}
_SERVICE = re.compile(rf"{CORE}/namespaces/([^/]+)/services/([^/:]+)")
_PROXY = re.compile(rf"{CORE}/namespaces/([^/]+)/(services|pods)/(?:https?:)?([^/]+)/proxy(/.*)")
CONFIG = f"{CORE}/namespaces/kube-system/configmaps/cilium-config"

Object = dict[str, Any]
# Answers instead of the server, or changes it and lets it answer.
Step = Reply | Callable[[], Reply | None]


def status(code: int, reason: str = "", message: str = "", **headers: str) -> Reply:
    """A refusal as an API server writes it."""
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document | {"reason": reason, "message": message}).encode()
    return Reply(body, code, named)


def recorded_list(name: str) -> list[Object]:
    """The objects of a recorded answer."""
    items: list[Object] = json.loads((DATA / name).read_text())["items"]
    return items


def manifests() -> Iterator[Object]:
    """The objects of all recorded manifests, with what a server adds to them."""
    for number, path in enumerate(sorted((DATA / "policies").rglob("*.yaml"))):
        for thing in yaml.safe_load_all(path.read_text()):
            meta = {"creationTimestamp": f"2026-03-21T08:{number:02}:00Z", "generation": 1}
            if "Clusterwide" not in thing["kind"] and thing["kind"] != "Namespace":
                meta["namespace"] = "default"
            yield thing | {"metadata": meta | thing["metadata"]}


def recorded() -> dict[str, list[Object]]:
    """A whole cluster of recorded objects, by path."""
    objects: dict[str, list[Object]] = {path: [] for path in PATHS.values()}
    objects[PATHS["Node"]] = recorded_list("nodes.json")
    objects[PATHS["Event"]] = recorded_list("events-failed-mount.json")
    for name in ("pods-oomkill.json", "pods-default-unhealthy.json"):
        objects[PATHS["Pod"]] += recorded_list(name)
    for thing in manifests():
        if thing["kind"] in PATHS:
            objects[PATHS[thing["kind"]]].append(thing)
    return objects


class KubeApi:
    """Serves objects by path. Use it as a context manager.

    Parameters
    ----------
    objects
        Lists by path; any other path is not found.
    config
        What the ConfigMap of Cilium holds; there is none if None.
    token
        The only bearer token it accepts; any request will do if empty.
    proxied
        What answers behind the proxy to Services, by ``namespace/name:port``, and to pods, by
        ``namespace/pods/name:port``; it may be read only, as by those who may ``get`` but not
        ``create`` there.
    """

    def __init__(
        self,
        objects: Mapping[str, list[Object]] | None = None,
        *,
        config: Mapping[str, str] | None = None,
        token: str = "",
        tls: ssl.SSLContext | None = None,
        proxied: Mapping[str, Answerer] | None = None,
    ) -> None:
        self.objects = dict(recorded() if objects is None else objects)
        self.config = config
        self.token = token
        self.proxied = dict(proxied or {})
        #: Whether the user has the right to get pods/proxy.
        self.may_ask_pods = True
        self.state = 1
        self.steps: dict[str, list[Step]] = defaultdict(list)
        self.stub = Stub(self.answer, tls=tls)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.stub.url

    @property
    def requests(self) -> list[Request]:
        """What has arrived."""
        return self.stub.requests

    def asked(self, path: str) -> list[Request]:
        """The requests for one path."""
        return [request for request in self.requests if request.path == path]

    def rights(self) -> set[tuple[str, str, str, str]]:
        """Which rights were needed: group, resource, verb, and the name of a single object."""
        return {_right(request) for request in self.requests}

    def then(self, path: str, *steps: Step) -> Self:
        """Take these steps, one per request for this path; afterwards answer as usual."""
        self.steps[path] += steps
        return self

    def always(self, path: str, reply: Reply) -> Self:
        """Never answer as usual at this path."""
        return self.then(path, *[reply] * 100)

    def forbid(self, path: str) -> Self:
        """Take the right to a path away."""
        what = path.rpartition("/")[2]
        said = f'{what} is forbidden: User "reader" cannot list resource "{what}"'
        return self.always(path, status(403, "Forbidden", said))

    def change(self, path: str, objects: list[Object]) -> None:
        """Replace the objects of a path; what was handed out in part before expires."""
        self.objects[path] = objects
        self.state += 1

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self.token and (scheme.lower(), token) != ("bearer", self.token):
            return status(401, "Unauthorized", "Unauthorized")
        steps = self.steps[request.path]
        step = steps.pop(0) if steps else None
        reply = step if isinstance(step, Reply) or step is None else step()
        return reply or self._usual(request)

    def _usual(self, request: Request) -> Reply:
        if request.path == CONFIG and self.config is not None:
            return Reply(json.dumps(_config_map(self.config)).encode())
        if found := _PROXY.fullmatch(request.path):
            return self._proxy(request, *found.groups())
        if found := _SERVICE.fullmatch(request.path):
            return self._service(*found.groups())
        if request.path not in self.objects:
            return text(404, "404 page not found\n")
        reply = self._page(request)
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        return packed(reply) if zipped and reply.status == 200 else reply

    def _proxy(self, request: Request, namespace: str, kind: str, name: str, path: str) -> Reply:
        where = f"{namespace}/{name}" if kind == "services" else f"{namespace}/{kind}/{name}"
        verb = "create" if request.method != "GET" else ""
        if kind == "pods" and not self.may_ask_pods:
            verb = "get"
        if verb:
            said = f'{kind} "{name}" is forbidden: User "reader" cannot {verb} resource'
            return status(403, "Forbidden", f'{said} "{kind}/proxy" in API group ""')
        if where not in self.proxied:
            said = f'no endpoints available for service "{name}"'
            return status(503, "ServiceUnavailable", said)
        # The proxy takes the credentials of the API server away.
        headers = {k: v for k, v in request.headers.items() if k != "authorization"}
        return self.proxied[where](replace(request, path=path, headers=headers))

    def _service(self, namespace: str, name: str) -> Reply:
        for item in self.objects.get(PATHS["Service"], ()):
            meta = item["metadata"] or {}
            if (meta.get("namespace"), meta.get("name")) == (namespace, name):
                return Reply(json.dumps(item).encode())
        return status(404, "NotFound", f'services "{name}" not found')

    def _page(self, request: Request) -> Reply:
        state, begin = self.state, 0
        if token := request.params.get("continue"):
            state, begin = map(int, token.split("-"))
        if state != self.state:
            said = "The provided continue parameter is too old to display a consistent list"
            return status(410, "Expired", said)
        items = self.objects[request.path]
        end = begin + int(request.params.get("limit", len(items)))
        meta = {"resourceVersion": str(state)}
        if end < len(items):
            meta |= {"continue": f"{state}-{end}", "remainingItemCount": str(len(items) - end)}
        # A Go server writes null for a list of nothing, here and there.
        return Reply(
            json.dumps(
                {"kind": "List", "apiVersion": "v1", "metadata": meta}
                | {"items": items[begin:end] or None}
            ).encode()
        )

    def __enter__(self) -> Self:
        self.stub.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stub.__exit__(kind, error, trace)


def write_kubeconfig(
    path: Path, url: str, *, token: str = "", authority: str = "", context: str = "here"
) -> Path:
    """Write a kubeconfig with one context, and another cluster that is not meant."""
    cluster = {"server": url} | ({"certificate-authority": authority} if authority else {})
    elsewhere = {"server": "http://127.0.0.1:1"}
    user = {"token": token} if token else {}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [
            {"name": "near", "cluster": cluster},
            {"name": "far", "cluster": elsewhere},
        ],
        "users": [{"name": "reader", "user": user}],
        "contexts": [
            {"name": context, "context": {"cluster": "near", "user": "reader"}},
            {"name": "elsewhere", "context": {"cluster": "far", "user": "reader"}},
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def _config_map(data: Mapping[str, str]) -> Object:
    entry = {"manager": "helm", "time": "2026-03-21T08:15:00Z", "fieldsV1": {"f:data": {}}}
    meta = {"name": "cilium-config", "namespace": "kube-system", "managedFields": [entry]}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": dict(data)}


def _right(request: Request) -> tuple[str, str, str, str]:
    assert request.method == "GET", request
    parts = request.path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    if len(rest) > 2:
        rest = rest[2:]
    verb = "watch" if "watch" in request.params else "list" if len(rest) == 1 else "get"
    return group, rest[0], verb, rest[1] if len(rest) > 1 else ""


def granted_by(role: Mapping[str, Any]) -> set[tuple[str, str, str, str]]:
    """The rights that a role gives, as `KubeApi.rights` has those that were needed."""
    return {
        (group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }
