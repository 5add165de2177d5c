"""A bucket of an S3 server on the loopback, ``moto_server`` of ``pip install 'moto[server]'``; skipped without it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from kdsearch.errors import UserError
from kdsearch.remote.place import Place
from kdsearch.remote.uri import Uri
from tests.faults.processes import alive, descendants, wait
from tests.faults.test_address import job, said

SERVER = shutil.which("moto_server")

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(SERVER is None, reason="no S3 server: pip install 'moto[server]'"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a folder in an empty bucket."""
    from pyarrow.fs import S3FileSystem

    assert SERVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_DEFAULT_REGION": "us-east-1"}
    log = (tmp_path_factory.mktemp("s3") / "log").open("w")
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen([SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log) as server,
    ):
        try:
            for name, value in keys.items():
                patch.setenv(name, value)
            wait(lambda: answers(port), 60)
            system = S3FileSystem(
                endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True, region="us-east-1"
            )
            system.create_dir("bucket")
            try:
                system.open_output_stream("bucket/tried").close()
            except OSError as error:
                pytest.skip(f"this S3 server does not take what pyarrow uploads, a newer moto does: {error}")
            system.delete_file("bucket/tried")
            yield f"s3://bucket/{{}}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        finally:
            server.kill()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_what_is_written_is_read_and_listed(bucket: str) -> None:
    there = Place.open(Uri(bucket.format("a/run")))
    assert there.files() == {}
    assert not there.is_file()
    there.check_writable()
    name = "tensorboard/trial-0001 batch_size=50 learning_rate=0.001/events.out"
    there.write("study.journal", b"one\n")
    there.write(name, b"\0" * 9_000_000)  # more than a part of an upload
    there.write("study.journal", b"one\ntwo\n")
    assert there.files() == {"study.journal": 8, name: 9_000_000}
    assert there.read("study.journal") == b"one\ntwo\n"
    there.remove(name)
    there.remove(name)  # gone already
    assert list(there.files()) == ["study.journal"]


def test_what_is_refused_names_no_secret(bucket: str) -> None:
    elsewhere = bucket.replace("s3://bucket/", "s3://nobody:hush-hush@no-such-bucket/").format("run")
    with pytest.raises(UserError) as caught:
        Place.open(Uri(elsewhere)).check_writable()
    assert "cannot be written" in str(caught.value)
    assert "NO_SUCH_BUCKET" in str(caught.value)
    assert "hush-hush" not in str(caught.value)


def test_a_search_killed_and_carried_on_from_another_machine(bucket: str, tmp_path: Path) -> None:
    address = bucket.format("run")
    there = Place.open(Uri(address))
    with job(tmp_path, "one", "--trials", "6", address=address) as process:
        wait(lambda: "trials.parquet" in there.files() or process.poll() is not None, 600)
        assert process.poll() is None, process.communicate()[0]
        family = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    wait(lambda: not alive(family), 300)
    shutil.rmtree(tmp_path / "one")
    with job(tmp_path, "two", "--trials", "6", "--resume", address=address) as process:
        text = said(process)
    assert "teacher: from the cache" in text
    assert f"everything is in {Uri(address)}: " in text
    trials = pd.read_parquet(io.BytesIO(there.read("trials.parquet")))
    assert sorted(trials["number"]) == list(range(6))
    assert json.loads(there.read("best.json"))["validation"]
