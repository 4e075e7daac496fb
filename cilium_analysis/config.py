"""The source of notebooks that name none: from the environment, or a file in their directory.

The file holds only references, an address and the name of a context. Credentials come from the
environment, or from files that it names.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from cilium_analysis.errors import ParameterError, suggest

SOURCE_VARIABLE = "CILIUM_ANALYSIS_SOURCE"
FILE = "cilium-analysis.toml"
#: Value of the parameter ``source`` of a notebook that names no source.
CONFIGURED = "configured"
_TEXT = """\
# What the notebooks of this directory ask, as long as their own source is "configured".
# Credentials do not belong here: they come from the environment, or from files that it names.

# URL of a Prometheus-compatible server, the directory of a bundle, or "sample"
source = {source}
# Kubernetes API to read beside a server: "current", "in-cluster", or the name of a context
kubernetes = {kubernetes}
# instead of $KUBECONFIG and ~/.kube/config
kubeconfig = {kubeconfig}
# where Cilium runs
cilium_namespace = {cilium_namespace}
"""


@dataclass(frozen=True)
class Config:
    """The source, and the Kubernetes API beside it.

    Parameters
    ----------
    source
        As for `cilium_analysis.connect`.
    kubernetes, kubeconfig, cilium_namespace
        As for `cilium_analysis.question.ask`.
    """

    source: str = "sample"
    kubernetes: str = ""
    kubeconfig: str = ""
    cilium_namespace: str = "kube-system"

    def text(self) -> str:
        """Give the file that says this.

        Raises
        ------
        ParameterError
            If the source is a URL with a user or password in it.
        """
        if "@" in _host(self.source) or _confidential(self.source):
            raise ParameterError(
                "a source that is written down holds no credentials: leave user, password and"
                " tokens out of the URL, and set CILIUM_ANALYSIS_USERNAME and"
                " CILIUM_ANALYSIS_PASSWORD_FILE, or CILIUM_ANALYSIS_BEARER_TOKEN_FILE"
            )
        return _TEXT.format_map({name: _quoted(text) for name, text in asdict(self).items()})


def configured(directory: Path | None = None) -> Config:
    """Give the source to ask when a notebook names none.

    That is the one in the environment variable ``CILIUM_ANALYSIS_SOURCE``, otherwise the one in the
    file ``cilium-analysis.toml``, otherwise the sample.

    Parameters
    ----------
    directory
        Of the file; the working directory if None, which is that of a notebook in JupyterLab.

    Raises
    ------
    ParameterError
        If the file is damaged.
    """
    if source := os.environ.get(SOURCE_VARIABLE, ""):
        return Config(source=source)
    return read_config(directory or Path()) or Config()


def read_config(directory: Path) -> Config | None:
    """Read the file of a directory; None if there is none.

    Raises
    ------
    ParameterError
        If it cannot be read, or has an unknown or wrong entry.
    """
    file = directory / FILE
    try:
        said = tomllib.loads(_text(file))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RecursionError, ValueError) as problem:
        raise ParameterError(f"cannot read {file}: {problem}") from None
    known = [field.name for field in fields(Config)]
    for name, value in said.items():
        if name not in known:
            raise ParameterError(f"{file} has an unknown {name!r}: {suggest(name, known)}")
        if not isinstance(value, str):
            raise ParameterError(f'{file}: {name} is not text: write {name} = "{value}"')
    return Config(**said)


def _text(file: Path) -> str:
    if file.exists() and not file.is_file():
        raise ValueError("it is no plain file, and may keep waiting")
    return file.read_text(encoding="utf-8")


def _host(address: str) -> str:
    try:
        return urlsplit(address.strip()).netloc
    except ValueError:
        return ""  # no URL; whoever connects says so


def _confidential(address: str) -> bool:
    """Tell whether a parameter of an address looks like a credential."""
    from cilium_analysis.prometheus.credentials import of_parameters

    try:
        return any(of_parameters(parse_qsl(urlsplit(address.strip()).query)))
    except ValueError:
        return False


def _quoted(text: str) -> str:
    """Write a text as TOML does: as JSON, which leaves one control character as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
