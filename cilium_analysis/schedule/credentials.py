"""Credentials of scheduled runs: names of files and of keys of a Secret, never a value."""

from __future__ import annotations

from dataclasses import dataclass

from cilium_analysis.errors import ParameterError, suggest
from cilium_analysis.prometheus.credentials import PREFIX
from cilium_analysis.report.grafana import TOKEN_FILE
from cilium_analysis.report.notify import NOTIFY_VARIABLE
from cilium_analysis.schedule import checks

USERNAME = "username"
TENANT_VARIABLE, USERNAME_VARIABLE = f"{PREFIX}TENANT", f"{PREFIX}USERNAME"
#: Keys, as Kubernetes names them in its own Secrets, and the variables that name their files.
FILES = {
    "token": f"{PREFIX}BEARER_TOKEN_FILE",
    "password": f"{PREFIX}PASSWORD_FILE",
    "ca.crt": f"{PREFIX}CA_FILE",
    "tls.crt": f"{PREFIX}CLIENT_CERT",
    "tls.key": f"{PREFIX}CLIENT_KEY",
    "http-config": f"{PREFIX}HTTP_CONFIG",
    "grafana-token": TOKEN_FILE,
    # Of object stores; that of S3 may hold an ``endpoint_url`` too.
    "aws-credentials": "AWS_SHARED_CREDENTIALS_FILE",
    "google-credentials": "GOOGLE_APPLICATION_CREDENTIALS",
}
#: Those that sign requests to a server of metrics.
SIGNING = frozenset(("token", "password", "tls.crt", "http-config"))
KUBECONFIG, NOTIFY, GRAFANA = "kubeconfig", "notify", "grafana-token"
#: Files that are not for a server of metrics, and have options of their own.
_OTHERS = {KUBECONFIG: "KUBECONFIG", NOTIFY: NOTIFY_VARIABLE}


@dataclass(frozen=True)
class Credential:
    """A file on the machine.

    Parameters
    ----------
    key
        One of `FILES`, ``kubeconfig``, or ``notify`` for a file of addresses to notify.
    file
        Absolute path.

    Raises
    ------
    ParameterError
        If the key is unknown or the path is not valid.
    """

    key: str
    file: str

    def __post_init__(self) -> None:
        known = (*FILES, *_OTHERS)
        if self.key not in known:
            raise ParameterError(f"unknown credential {self.key!r}: {suggest(self.key, known)}")
        checks.file(self.file, f"--{self.key}" if self.key in _OTHERS else self.key)

    @classmethod
    def parse(cls, text: str) -> Credential:
        """Read ``KEY=FILE``.

        Raises
        ------
        ParameterError
            If it is something else; the message does not repeat it: it may be a credential.
        """
        key, equals, path = text.partition("=")
        if not equals or key not in FILES or not path.startswith("/"):
            hint = f"write it as KEY=/path/of/a/file with a key of {', '.join(FILES)}"
            raise ParameterError(f"--credential names a file, it does not hold a value: {hint}")
        return cls(key, path)

    @classmethod
    def addresses(cls, text: str) -> Credential:
        """Read ``file:PATH``, as ``--notify`` takes it.

        Raises
        ------
        ParameterError
            If it is something else; the message does not repeat it: it may be an address.
        """
        kind, _, path = text.partition(":")
        if kind == "env":
            reason = "scheduled runs get nothing from your environment: give file:/PATH"
            raise ParameterError(f"--notify env:… is not for a schedule: {reason}")
        if kind != "file" or not path.startswith("/"):
            hint = "write the addresses into a file, and give its absolute path as file:/PATH"
            raise ParameterError(f"--notify names a file, it does not hold an address: {hint}")
        return cls(NOTIFY, path)

    @property
    def variable(self) -> str:
        """The environment variable that names the file."""
        return (FILES | _OTHERS)[self.key]


@dataclass(frozen=True)
class Secret:
    """A Secret of Kubernetes.

    Parameters
    ----------
    name
        Of the Secret.
    keys
        Those of `FILES`, ``username`` and ``notify`` that it has.

    Raises
    ------
    ParameterError
        If the name is not valid or a key is unknown.
    """

    name: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        checks.dotted_name(self.name, "--secret")
        known = (USERNAME, *FILES, NOTIFY)
        for key in self.keys:
            if key not in known:
                raise ParameterError(f"--secret has no use for {key!r}: {suggest(key, known)}")

    @classmethod
    def parse(cls, text: str) -> Secret:
        """Read ``NAME:KEY,KEY``, or ``NAME`` for one with a ``token``."""
        name, colon, keys = text.partition(":")
        return cls(name, tuple(dict.fromkeys(keys.split(","))) if colon else ("token",))

    @property
    def files(self) -> dict[str, str]:
        """The variables that name files, by key."""
        return {key: (FILES | _OTHERS)[key] for key in self.keys if key != USERNAME}


def check_keys(keys: tuple[str, ...], *, username: bool, annotate: str = "") -> None:
    """Check that credentials go together, and that none lacks its other part."""
    if bool(annotate) != (GRAFANA in keys):
        raise ParameterError(f"--annotate and the credential {GRAFANA} go together: name both")
    if "token" in keys and (username or "password" in keys):
        raise ParameterError("a token and a password cannot both be sent: name one of them")
    if ("password" in keys) != username:
        raise ParameterError("a password needs a user name, and a user name a password")
    if "tls.key" in keys and "tls.crt" not in keys:
        raise ParameterError("tls.key needs its certificate: name tls.crt too")
    others = {"token", "password", "ca.crt", "tls.crt", "tls.key"} & set(keys)
    if "http-config" in keys and others:
        said = f"leave {', '.join(sorted(others))} out"
        raise ParameterError(f"http-config says how to sign in: {said}")
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ParameterError(f"{', '.join(sorted(twice))} is named twice: name one file for it")
