"""A real nginx before a server, as gateways of companies are."""

from __future__ import annotations

import os
import urllib.error
from typing import TYPE_CHECKING

from tests.servers.process import ServerProcess
from tests.servers.prometheus import find

if TYPE_CHECKING:
    from pathlib import Path

_MAIN = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {beside}
  server {{
    listen 127.0.0.1:{port}{tls};
    {certificate}
    location = /ready {{ return 200; }}
    {inner}
  }}
}}
"""


class Nginx(ServerProcess):
    """An nginx on a free loopback port.

    Parameters
    ----------
    inner
        Lines of its server block: what it lets through, and where to.
    certificate
        File of its certificate and key in PEM; it speaks TLS then.
    beside
        Lines beside the server block.
    """

    def __init__(self, inner: str, *, certificate: Path | None = None, beside: str = "") -> None:
        """Start it."""
        self.program = find("nginx", "nginx")
        self.inner, self.beside, self.certificate = inner, beside, certificate
        super().__init__(scheme="https" if certificate else "http")

    def prepare(self) -> None:
        """Leave all to `command`, which knows the port."""

    def command(self, port: int) -> list[str]:
        """Build the command line."""
        certificate = ""
        if self.certificate:
            certificate = f"ssl_certificate {self.certificate};"
            certificate += f" ssl_certificate_key {self.certificate};"
        config = self.folder / "nginx.conf"
        config.write_text(
            _MAIN.format(
                # Else its workers could not write into the folder.
                user="user root;" if os.geteuid() == 0 else "",
                folder=self.folder,
                port=port,
                tls=" ssl" if self.certificate else "",
                certificate=certificate,
                inner=self.inner,
                beside=self.beside,
            )
        )
        return [str(self.program), "-e", "stderr", "-p", str(self.folder), "-c", str(config)]

    def ready_path(self) -> str:
        """Name a path of its own."""
        return "/ready"

    def _is_ready(self) -> bool:
        try:
            self.get(self.ready_path())
        except urllib.error.HTTPError as error:
            return error.code == 400  # it asks for a certificate
        except OSError:
            return False
        return True

    @property
    def seen(self) -> list[str]:
        """What it was asked: method and path of each request."""
        lines = (self.folder / "access.log").read_text().splitlines()
        asked = [line.split('"')[1].rpartition(" ")[0] for line in lines if '"' in line]
        return [each for each in asked if not each.endswith(" /ready")]
