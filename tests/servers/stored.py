"""A server of its own that speaks S3: moto's, on loopback, in a process that tests may end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import requests
from botocore.config import Config

if TYPE_CHECKING:
    import pytest

#: Planted where the library of the store reads its credentials; nothing that is written has them.
KEY, SECRET, TOKEN = "AKIAPLANTED0KEY0ID00", "planted-secret-access-key", "planted-session-token"


class ObjectServer:
    """Buckets that are gone when it stops."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        program = str(Path(__file__).with_name("moto_in_turn.py"))
        command = [sys.executable, program, "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}),
        )

    def _wait(self) -> None:
        for _ in range(600):
            try:
                requests.get(f"{self.url}/moto-api/", timeout=5)
            except requests.ConnectionError:
                assert self._process.poll() is None, "the server did not start"
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the server does not answer")

    def stop(self) -> None:
        """End it at once, as a store that is lost."""
        self.client.close()
        self._process.kill()
        self._process.wait()

    def bucket(self, name: str) -> str:
        """Make a bucket; gives its address."""
        self.client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def drop(self, name: str) -> None:
        """Delete a bucket with all that is in it."""
        for key in self.contents(name):
            self.client.delete_object(Bucket=name, Key=key)
        self.client.delete_bucket(Bucket=name)

    def contents(self, name: str) -> dict[str, bytes]:
        """All objects of a bucket, by their keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=name)
        keys = [row["Key"] for page in pages for row in page.get("Contents", ())]
        return {key: self.client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Have the library of the store find it, as users have it find theirs."""
        patch.setenv("AWS_ENDPOINT_URL_S3", self.url)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_SESSION_TOKEN", TOKEN)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # One try of botocore's is enough where nothing is there; s3fs has five of its own.
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
