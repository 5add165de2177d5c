"""Ray's session: what is left out of its start, and that nothing of that stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdsearch.search import session


def test_what_ray_need_not_start_is_put_back() -> None:
    from ray._private.node import Node

    before = {name: getattr(Node, name) for name in session._NEEDLESS}
    with session._lean():
        assert all(getattr(Node, name) is not method for name, method in before.items())
    assert {name: getattr(Node, name) for name in before} == before


def test_another_version_of_ray_may_lack_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.node import Node

    monkeypatch.setattr(session, "_NEEDLESS", ("no_such_method",))
    with session._lean():
        pass
    assert not hasattr(Node, "no_such_method")


def test_what_a_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "RAY_worker_niceness"
    monkeypatch.setenv(name, "7")
    session.configure()
    assert os.environ[name] == "7"


@pytest.mark.parametrize("name", ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_that_a_user_chose_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other in session.AUTHENTICATION:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "disabled")
    session.own_token()
    assert {n: os.environ.get(n) for n in session.AUTHENTICATION if n in os.environ} == {name: "disabled"}


def test_folders_of_searches_that_were_killed_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock tells, as process ids mean nothing to another container with the same /tmp."""
    monkeypatch.setattr(session.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(session, "_LONGEST", 1000)
    names = ("1-killed", "2-live", "3-begins", "4-earlier")
    killed, live, begins, earlier = folders = [tmp_path / f"{session._PREFIX}{name}" for name in names]
    for folder in folders:
        folder.mkdir()
    (killed / session._OWNER).touch()
    os.utime(earlier, (0, 0))
    code = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(live / session._OWNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        made = session._folder()
        assert made is not None
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([live.name, begins.name, Path(made).name])
        holder.kill()
