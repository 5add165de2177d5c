"""Ray, started quietly for one search and gone with it."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from kdsearch.errors import USER_ERROR, UserError
from kdsearch.search.reaper import Reaper
from kdsearch.search.resources import Machine, Node, gpu_bytes, local_machine

__all__ = ["AUTHENTICATION", "Session", "cluster_errors", "configure", "current_machine", "own_token", "ray_session"]

# Before ray is imported. What a user has set stays.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a box even when told to be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # workers stay where the driver is: no relative path breaks
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_worker_niceness": "0",  # with Ray's 15 whatever else runs here would starve the trials
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # Tune's actors have an environment of their own, so workers started ahead would import all this and never be used.
    "RAY_prestart_worker_first_driver": "0",
    # Workers begin with what a trial needs, while this process still sets up the search.
    "RAY_preload_python_modules": "torch,ray.tune,kdsearch.search.trainable,kdsearch.distillation.objective",
    # Each graph is one heavy kernel: a pool as wide as the machine in every worker would compile nothing sooner.
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # 3.4 ms a report and five files a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours knows SIGTERM and a second Ctrl-C too
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # nothing is restored from Tune's snapshots
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # checked before
}
AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
# What Ray's errors hold where a cluster refuses for want of a token.
_NO_TOKEN = "InvalidAuthToken"
# Methods of Ray's node, each starting a process; one that a version of Ray does not have is passed over.
_NEEDLESS = ("start_monitor", "start_log_monitor", "start_api_server")
_PREFIX = "kdsearch-ray-"
# The file in it that is locked as long as its process lives.
_OWNER = ".owner"
# A folder without one is being made, or of an earlier version of kdsearch.
_ABANDONED_S = 86400.0
# Without one of these nothing goes on.
_SERVERS = ("gcs_server", "raylet")
# How often Ray's servers are looked at.
_WATCH_S = 0.5
# What to wait for Ray to start: with ten processes to a core it takes more than the 30 seconds that Ray waits.
_START_S = 300.0
# A socket's path may have 107 bytes, and Ray appends about 70.
_LONGEST = 35


def configure() -> None:
    """Set what Ray reads from the environment, except where a user has."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def own_token() -> None:
    """Give a Ray that is started here a token of its own, except where a user has decided.

    By itself Ray keeps one in the home folder, which may not be writable, and which makes every later ``ray start`` of
    the user ask for it.
    """
    if any(name in os.environ for name in AUTHENTICATION):
        return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ["RAY_AUTH_MODE"] = "token"
    if "ray" in sys.modules:  # it has read its environment already
        from ray._raylet import Config  # type: ignore[attr-defined]

        Config.initialize("")


class Session:
    """Ray for the time of a ``with``: started when asked, in the background, and gone with it.

    A local Ray dies with this process, also by SIGKILL. Inside, :func:`ray_session` uses it.

    Args:
        address: of a cluster to join, ``"auto"`` for the one of this machine; None starts one here.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._thread: threading.Thread | None = None
        self._foreign = False
        self._ready, self._closing, self._over = threading.Event(), threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._folder: str | None = None
        self._owner: FileLock | None = None
        self._reaper: Reaper | None = None

    def begin(self) -> None:
        """Start Ray without waiting for it, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="kdsearch-ray", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Return once Ray has started.

        Raises:
            UserError: the cluster cannot be joined.
        """
        self.begin()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        global _current
        _current = self
        return self

    def __exit__(self, *raised: object) -> None:
        global _current
        _current = None
        if self._thread is None:
            return
        self._ready.wait()
        import ray

        self._closing.set()
        if not self._foreign:
            ray.shutdown()
        self._over.set()
        if self._reaper is not None:
            self._reaper.dismiss()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._owner is not None:
            self._owner.release()

    def _live(self) -> None:
        try:
            self._start()
        except BaseException as error:
            self._error = error
        self._ready.set()
        # Ray's servers ask the kernel to end with whoever started them, and that is this thread.
        while not self._over.wait(_WATCH_S):
            if self._reaper is None or self._closing.is_set():
                continue  # not started here, or about to end
            dead = _dead_server()
            if dead is not None and not self._closing.is_set():
                _end_without(dead)

    def _start(self) -> None:
        configure()
        if self._address is None:
            own_token()
        import ray

        if ray.is_initialized():  # not ours to start or to end
            self._foreign = True
            return
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        if self._address is not None:
            _join(self._address)
            return
        self._folder = _folder()
        if self._folder is not None:
            self._owner = FileLock(Path(self._folder) / _OWNER, thread_local=False)  # another thread lets it go
            self._owner.acquire()
        self._reaper = Reaper(self._folder)
        node = local_machine().nodes[0]
        try:
            with _lean(), _patient():
                ray.init(
                    address="local",  # also where RAY_ADDRESS is set: a cluster is joined by --address alone
                    num_cpus=int(node.cpus),
                    num_gpus=int(node.gpus),
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=False,
                    logging_level=logging.CRITICAL,
                    _temp_dir=self._folder,
                )
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            raise UserError(
                f"Ray has not started within {_START_S:.0f} s, this machine is overloaded: everything is kept, run the "
                "same command with --resume when it has less to do"
            ) from error
        finally:
            self._reaper.watch()


_current: Session | None = None


def _dead_server() -> str | None:
    """The name of a server of the Ray started here that has died."""
    from ray._private import worker

    node = worker._global_node
    for name, processes in getattr(node, "all_processes", {}).items():
        if name in _SERVERS and any(info.process.poll() is not None for info in processes):
            return str(name)
    return None


def _end_without(server: str) -> None:
    """Ray cannot be used or even shut down once a server of it is gone: calls would wait for minutes.

    Nothing is lost by ending at once: the journal is whole after every record, and the reaper clears the rest away.
    """
    sys.stdout.flush()
    print(
        f"kdsearch: error: Ray's {server} has died, killed or out of memory: everything is kept, carry on with the "
        "same command and --resume",
        file=sys.stderr,
        flush=True,
    )
    os._exit(USER_ERROR)


@contextlib.contextmanager
def cluster_errors(address: str | None) -> Iterator[None]:
    """The loss of a cluster that was joined is the user's to mend."""
    try:
        yield
    except Exception as error:
        from ray.exceptions import RayError, RayTaskError

        if address is None or not isinstance(error, RayError | ConnectionError) or isinstance(error, RayTaskError):
            raise
        raise UserError(
            f"--address {address}: the cluster was lost ({str(error).splitlines()[0][:200]}): everything is kept, "
            "carry on with the same command and --resume"
        ) from error


@contextlib.contextmanager
def ray_session(address: str | None = None) -> Iterator[Callable[[], None]]:
    """Ray for the time of a ``with``: that of the :class:`Session` around it, else one of its own.

    Args:
        address: of a cluster to join.

    Returns:
        What to call before Ray is first used: it waits until Ray has started, and raises a UserError if it cannot.
    """
    if _current is not None:
        _current.begin()
        yield _current.wait
        return
    with Session(address) as session:
        session.begin()
        yield session.wait


@contextlib.contextmanager
def _lean() -> Iterator[None]:
    """Start no process that a search of one machine has no use for: on two cores they take longer than the rest of Ray.

    They are the autoscaler, the tail of log files and the server of the dashboard, which Ray starts without one too.
    Servers listen on the loopback interface only: whoever reaches them may run code as this user.
    """
    from ray._private import node, ray_constants

    cluster = getattr(ray_constants, "ENABLE_RAY_CLUSTER", None)
    kept = {name: getattr(node.Node, name, None) for name in _NEEDLESS}
    try:
        for name, method in kept.items():
            if method is not None:
                setattr(node.Node, name, lambda *args, **kwargs: None)
        ray_constants.ENABLE_RAY_CLUSTER = False
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = cluster
        for name, method in kept.items():
            if method is not None:
                setattr(node.Node, name, method)


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Let Ray's server come up as slowly as a busy machine makes it: Ray itself gives up sooner than a user would."""
    from ray._private import services

    asked: Any = getattr(services, "get_node", None)
    if asked is None:  # another version of Ray
        yield
        return
    deadline = time.monotonic() + _START_S

    def get_node(*given: Any, **named: Any) -> Any:
        while True:
            try:
                return asked(*given, **named)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_WATCH_S)

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = asked


def current_machine() -> Machine:
    """What the running session may give away; this machine where none runs."""
    import ray

    if not ray.is_initialized():
        return local_machine()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = tuple(Node(n.get("CPU", 0.0), n.get("GPU", 0.0)) for n in nodes if n.get("CPU"))
    return Machine(found, gpu_bytes())


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level=logging.CRITICAL)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if _NO_TOKEN in f"{error} {error.__cause__}":
            raise UserError(
                f"--address {address}: that Ray cluster asks for a token: run with RAY_AUTH_MODE=token and have its "
                "token in ~/.ray/auth_token (ray get-auth-token prints it on its head)"
            ) from error
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0][:200]})"
        ) from error


def _folder() -> str | None:
    """A folder for Ray's logs and sockets, removed at the end; those of searches that were killed go now."""
    base = Path(tempfile.gettempdir())
    if len(str(base)) > _LONGEST - len(_PREFIX) + 10:
        return None
    for old in base.glob(f"{_PREFIX}*"):
        if not _owned(old):
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base)


def _owned(folder: Path) -> bool:
    """Whether somebody is at work there: a lock tells, also across containers, where process ids mean nothing."""
    try:
        if not (folder / _OWNER).exists():
            return time.time() - folder.stat().st_mtime < _ABANDONED_S
        with FileLock(folder / _OWNER, timeout=0):
            return False
    except (Timeout, OSError):
        return True
