"""Ray's session: what is left out of its start, and that nothing of that stays behind."""

from __future__ import annotations

import os

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
