"""A search as a process of its own, to be hurt: ``python driver.py OUTPUT '{"trials": 8, ...}'``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from trouble import Trouble

from kdsearch import command
from kdsearch.search import scheduler
from kdsearch.search.progress import Progress
from kdsearch.search.runner import run_search
from kdsearch.search.settings import SearchSettings
from kdsearch.search.space import Parameter, Space

RANGES = (Parameter("x", 0.0, 1.0), Parameter("rate", 0.05, 1.0, log=True))


def main(argv: object = None) -> int:
    output, arguments = Path(sys.argv[1]), json.loads(sys.argv[2])
    known = tuple({"x": x, "rate": 0.5} for x in arguments.pop("known", ()))
    objective = Trouble(pause=arguments.pop("pause", 0.0), luck=arguments.pop("luck", False), log=str(output) + ".log")
    made: list[Any] = []
    make = scheduler.make_scheduler
    scheduler.make_scheduler = lambda *given, **more: made.append(make(*given, **more)) or made[-1]  # to look at it
    settings = SearchSettings(output, **{"epochs": 9, "grace": 1, "checkpoint_every_s": 0.0, **arguments})
    result = run_search(objective, Space("none", RANGES, known), settings, (Progress(),))
    rungs = made[-1].rungs if made and hasattr(made[-1], "rungs") else []
    Path(f"{output}.rungs").write_text(json.dumps(rungs))
    return 130 if result.reason == "interrupted" else 0


if __name__ == "__main__":
    sys.exit(command.run(main))
