"""What is the address of a folder, what is a path, and what may be shown of either."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kdsearch.errors import UserError
from kdsearch.remote.uri import Uri, folder, local, without_secrets


@pytest.mark.parametrize("text", ["s3://bucket/run", "gs://bucket/a/b", "hdfs://host:8020/run", "file:///tmp/run"])
def test_addresses(text: str) -> None:
    assert folder(text) == Uri(text)


@pytest.mark.parametrize("text", ["runs/demo", "/tmp/run", "C:/runs/demo", "c:\\runs", "a:b", "run", "."])
def test_paths(text: str) -> None:
    assert folder(text) == Path(text)


def test_nothing_that_is_shown_holds_a_secret() -> None:
    uri = Uri(
        "s3://AKIA:hush/hush@bucket/run?endpoint_override=localhost:9000&session_token=hush".replace("/hush@", "@")
    )
    assert "hush" not in str(uri)
    assert "hush" not in repr(uri)
    assert str(uri) == "s3://AKIA:***@bucket/run?endpoint_override=localhost:9000&session_token=***"
    command = (
        "python -m kdsearch.tune --output 'abfs://box@account.dfs.core.windows.net/run?client_secret=hush' --resume"
    )
    assert without_secrets(command) == command.replace("hush", "***")
    plain = "python -m kdsearch.tune --dataset a.toml --set learning_rate=0.1 --address 10.0.0.5:6379"
    assert without_secrets(plain) == plain


def test_a_folder_of_the_cache_is_that_of_the_address_not_of_who_asks() -> None:
    assert Uri("s3://me:one@bucket/run").key == Uri("s3://bucket/run").key == Uri("s3://bucket/run/").key
    assert Uri("s3://bucket/run").key != Uri("s3://bucket/other/run").key
    assert Uri("s3://bucket/run").key.startswith("run-")
    assert "/" not in Uri("s3://bucket/..").key.replace("..", "")


def test_paths_are_those_of_a_home_and_never_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert folder("~/run") == local("~/run") == Path("/somewhere/run")
    for kind in (folder, local):
        with pytest.raises(argparse.ArgumentTypeError, match="wants a path"):
            kind("")
        with pytest.raises(UserError, match="no such home folder"):
            kind("~nobody-at-all/x")
