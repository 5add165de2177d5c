"""Ray, started quietly for one search and gone with it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kdsearch.errors import UserError
from kdsearch.search.reaper import Reaper
from kdsearch.search.resources import Machine, Node, gpu_bytes, local_machine

__all__ = ["configure", "current_machine", "ray_session"]

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
    # Workers begin with what a trial needs, while this process still sets up the search.
    "RAY_preload_python_modules": "torch,ray.tune,kdsearch.search.trainable,kdsearch.distillation.objective",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # 3.4 ms a report and five files a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours knows SIGTERM and a second Ctrl-C too
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # nothing is restored from Tune's snapshots
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # checked before
}
# Methods of Ray's node, each starting a process; one that a version of Ray does not have is passed over.
_NEEDLESS = ("start_monitor", "start_log_monitor", "start_api_server")
_PREFIX = "kdsearch-ray-"
# A socket's path may have 107 bytes, and Ray appends about 70.
_LONGEST = 35


def configure() -> None:
    """Set what Ray reads from the environment, except where a user has."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def ray_session(address: str | None = None, object_store_bytes: int | None = None) -> Iterator[None]:
    """Start Ray here, or join a cluster, for the time of a ``with``; inside another session nothing happens.

    A local Ray dies with this process, also by SIGKILL.

    Args:
        address: of a cluster to join, ``"auto"`` for the one of this machine; None starts one here.
        object_store_bytes: memory for the objects that trials share; None leaves it to Ray.

    Raises:
        UserError: the cluster cannot be joined.
    """
    configure()
    import ray

    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    folder: str | None = None
    reaper: Reaper | None = None
    try:
        if address is not None:
            _join(address)
        else:
            folder = _folder()
            reaper = Reaper(folder)
            node = local_machine().nodes[0]
            with _lean():
                ray.init(
                    num_cpus=int(node.cpus),
                    num_gpus=int(node.gpus),
                    object_store_memory=object_store_bytes,
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=False,
                    logging_level=logging.CRITICAL,
                    _temp_dir=folder,
                )
            reaper.watch()
        yield
    finally:
        ray.shutdown()
        if reaper is not None:
            reaper.dismiss()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _lean() -> Iterator[None]:
    """Start no process that a search of one machine has no use for: on two cores they take longer than the rest of Ray.

    They are the autoscaler, the tail of log files and the server of the dashboard, which Ray starts without one too.
    """
    from ray._private import node

    kept = {name: getattr(node.Node, name, None) for name in _NEEDLESS}
    try:
        for name, method in kept.items():
            if method is not None:
                setattr(node.Node, name, lambda *args, **kwargs: None)
        yield
    finally:
        for name, method in kept.items():
            if method is not None:
                setattr(node.Node, name, method)


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
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0][:200]})"
        ) from error


def _folder() -> str | None:
    """A folder for Ray's logs and sockets, removed at the end; those of searches that were killed go now."""
    base = Path(tempfile.gettempdir())
    if len(str(base)) > _LONGEST - len(_PREFIX) + 10:
        return None
    for old in base.glob(f"{_PREFIX}*"):
        pid = old.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
