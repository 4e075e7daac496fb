"""Access to a cluster's API server: by a kubeconfig, or by the service account of a pod."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cilium_analysis.errors import ParameterError, SourceError, suggest
from cilium_analysis.kube.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.client import ApiClient, Configuration

CURRENT, IN_CLUSTER = "current", "in-cluster"
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True)
class Kubernetes:
    """One cluster's API server, and the access to it. Holds no credentials, only where they are.

    Without arguments it is the cluster that kubectl uses, or that of the pod this runs in.

    Parameters
    ----------
    kubeconfig
        File, or several as ``$KUBECONFIG`` lists them; that variable if empty, then
        ``~/.kube/config``, then the pod's service account.
    context
        Of the kubeconfig; its current one if empty.
    timeout
        Of a connection, and of each pause within a reply [s].
    retries
        Number of further tries after the first; one at most where the server is too slow.
    in_cluster
        Whether it is the cluster of the pod this runs in, even if there is a kubeconfig.
    service_account
        Directory with a pod's ``token`` and ``ca.crt``.
    client
        A client of the caller instead of all that; it is not closed here.
    pause
        Waits so many seconds between two tries.

    Raises
    ------
    ParameterError
        If the timeout or the number of retries makes no sense, or a kubeconfig or context is
        named for the cluster of this pod.
    """

    kubeconfig: str = ""
    context: str = ""
    timeout: float = 30.0
    retries: int = 4
    in_cluster: bool = field(default=False, kw_only=True)
    service_account: str = field(default=_SERVICE_ACCOUNT, kw_only=True)
    client: ApiClient | None = field(default=None, repr=False, compare=False, kw_only=True)
    pause: Callable[[float], None] = field(
        default=time.sleep, repr=False, compare=False, kw_only=True
    )

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ParameterError(f"a timeout of {self.timeout} s cannot be: use 30")
        if self.retries < 0:
            raise ParameterError(f"{self.retries} retries cannot be: use 0 or more")
        if self.in_cluster and (self.kubeconfig or self.context):
            raise ParameterError("the cluster of this pod needs no kubeconfig: name a context")

    @classmethod
    def at(cls, where: str, *, kubeconfig: str = "") -> Kubernetes:
        """Return the cluster that an argument of the command line names.

        Parameters
        ----------
        where
            ``current`` (the kubeconfig's current context, as for kubectl), ``in-cluster`` (of
            the pod this runs in), or the name of a context.
        kubeconfig
            As for the class.
        """
        if where == IN_CLUSTER:
            return cls(kubeconfig, in_cluster=True)
        return cls(kubeconfig, "" if where == CURRENT else where)

    @property
    def name(self) -> str:
        """Name by which `at` finds it."""
        return IN_CLUSTER if self.in_cluster else self.context or CURRENT

    @contextmanager
    def reader(self, known: Configuration | None = None) -> Iterator[Reader]:
        """Open a reader of the server, for the length of a block.

        Parameters
        ----------
        known
            What `configuration` has given, which is not asked again then.

        Raises
        ------
        SourceError
            If there is no such cluster to ask, or the package ``kubernetes`` is missing.
        """
        kubernetes = _package()
        api = self.client or kubernetes.client.ApiClient(known or self.configuration())
        if api is not self.client:
            api.set_default_header("Accept-Encoding", "gzip")
        try:
            server = _without_credentials(api.configuration.host)
            yield Reader(api, server, self.timeout, self.retries, self.pause)
        finally:
            if api is not self.client:
                api.close()

    @property
    def uses_service_account(self) -> bool:
        """Whether it is the cluster of the pod this runs in."""
        if self.in_cluster or self.kubeconfig or self.context:
            return self.in_cluster
        return not _existing(_paths()) and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))

    def configuration(self) -> Configuration:
        """Read how to reach the server, with its credentials; exec plugins are run.

        Raises
        ------
        SourceError
            As of `reader`.
        """
        kubernetes = _package()
        # The way around a metaclass that would copy the settings of another cluster.
        configuration = type.__call__(kubernetes.client.Configuration)
        # We try again ourselves, and no redirect leads to another host.
        configuration.retries = False
        if self.in_cluster:
            self._from_service_account(kubernetes, configuration)
            return configuration
        paths = self.kubeconfig or _paths()
        if self.uses_service_account:
            self._from_service_account(kubernetes, configuration)
        elif self.kubeconfig or self.context or _existing(paths):
            self._from_kubeconfig(paths, kubernetes, configuration)
        else:
            raise SourceError(
                f"no cluster to ask: there is no kubeconfig {paths}, and this is no pod with a"
                " service account; name a kubeconfig"
            )
        if urlsplit(configuration.host).scheme not in ("http", "https"):
            raise SourceError(f"the kubeconfig {paths} names a server without https://: mend it")
        return configuration

    def _from_kubeconfig(self, paths: str, kubernetes: Any, configuration: Configuration) -> None:
        """Read a kubeconfig. No message quotes its errors, which may quote its secrets."""
        if not _existing(paths):
            raise SourceError(f"there is no kubeconfig {paths}")
        config = kubernetes.config
        try:
            contexts, _ = config.list_kube_config_contexts(paths)
            self._check_context(paths, [str(one["name"]) for one in contexts])
            config.load_kube_config(
                paths, self.context or None, configuration, persist_config=False
            )
        except SourceError:
            raise
        except OSError as problem:
            raise SourceError(f"cannot read {problem.filename}: {problem.strerror}") from None
        except Exception:
            hint = "see whether `kubectl config view --minify` and `kubectl version` can"
            raise SourceError(f"cannot make sense of the kubeconfig {paths}; {hint}") from None

    def _check_context(self, paths: str, known: list[str]) -> None:
        if self.context and self.context not in known:
            near = suggest(self.context, known)
            raise SourceError(f"{paths} has no context {self.context!r}: {near}")

    def _from_service_account(self, kubernetes: Any, configuration: Configuration) -> None:
        from kubernetes.config.incluster_config import InClusterConfigLoader

        folder = Path(self.service_account)
        loader = InClusterConfigLoader(str(folder / "token"), str(folder / "ca.crt"))
        try:
            loader.load_and_set(configuration)
        except (kubernetes.config.ConfigException, OSError, ValueError):
            hint = "mount a service account's token, or name a kubeconfig"
            raise SourceError(f"{folder} holds no service account; {hint}") from None


def cluster_role() -> str:
    """Return the smallest ClusterRole that `load` needs, as YAML."""
    return (files("cilium_analysis") / "cluster_role.yaml").read_text(encoding="utf-8")


def _package() -> Any:
    """Import the client, which is an extra and slow to import."""
    try:
        import kubernetes.client
        import kubernetes.config
    except ImportError:
        hint = "pip install 'cilium-analysis[kubernetes]'"
        raise SourceError(f"reading Kubernetes needs the package kubernetes: {hint}") from None
    return kubernetes


def _paths() -> str:
    """Give the kubeconfig that kubectl reads."""
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def _existing(paths: str) -> bool:
    return any(Path(one).expanduser().is_file() for one in paths.split(os.pathsep) if one)


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
