from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # `objectives`, under the name that workers know it by


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """One small Ray for all tests that can share it: four logical CPUs and one logical GPU."""
    from kdsearch.search.session import configure, own_token

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(ROOT), *([before] if before else [])])
    configure()
    own_token()
    import ray

    # "local": another test process on this machine may have a Ray of its own.
    ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    yield
    ray.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
