"""A cluster's API server: its address, its certificates, and how requests to it are signed."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from cilium_analysis.prometheus.access import Access, Tls
from cilium_analysis.prometheus.tokens import Renewing, Token, expiry_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubernetes.client import Configuration

    from cilium_analysis.kube.access import Kubernetes
    from cilium_analysis.kube.reading import Reader


class ApiServer:
    """A cluster's API server.

    The kubeconfig is read once, as that runs its exec plugin, and again when its token expires or
    is refused.

    Parameters
    ----------
    cluster
        Which one.
    """

    def __init__(self, cluster: Kubernetes) -> None:
        self.cluster = cluster

    @cached_property
    def configuration(self) -> Configuration:
        """What the kubeconfig says, with its credentials."""
        return self.cluster.configuration()

    def renew(self) -> None:
        """Read the kubeconfig again."""
        self.configuration = self.cluster.configuration()

    @property
    def url(self) -> str:
        """Its address, without a slash at its end."""
        return str(self.configuration.host).rstrip("/")

    @property
    def token(self) -> str:
        """The bearer token of the kubeconfig; empty if it has none."""
        # Its name was another one before kubernetes 36.
        keys = ("BearerToken", "authorization")
        held = [self.configuration.get_api_key_with_prefix(key) for key in keys]
        header = str(next(filter(None, held), ""))
        return header.removeprefix("Bearer ").strip()

    @cached_property
    def access(self) -> Access:
        """The way to it."""
        known = self.configuration
        return Access(
            auth=_Signed(self) if self.token else None,
            tls=Tls(
                ca_file=known.ssl_ca_cert or "",
                cert_file=known.cert_file or "",
                key_file=known.key_file or "",
                server_name=known.tls_server_name or "",
                verify=bool(known.verify_ssl),
            ),
            proxy=known.proxy or "",
        )

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Open a reader of it, for the length of a block."""
        with self.cluster.reader(self.configuration) as reader:
            yield reader


class _Signed(Renewing):
    """Signs as a kubeconfig says, which is read again when its token expires or is refused."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__("the sign-in to Kubernetes")
        self._server = server
        self._is_used = False

    def fetch(self) -> Token:
        """Take the token of the kubeconfig: as it was read, and then as it is read anew."""
        if self._is_used:
            self._server.renew()
        self._is_used = True
        text = self._server.token
        return Token(text, expiry_of(text))
