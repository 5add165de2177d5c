"""A search as a process of its own, to be killed: ``python driver.py OUTPUT '{"trials": 8, ...}'``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from objectives import Bowl

from kdsearch import command
from kdsearch.search.progress import Progress
from kdsearch.search.remaining import Course
from kdsearch.search.runner import run_search
from kdsearch.search.settings import SearchSettings
from kdsearch.search.space import Parameter, Space

SPACE = Space("none", (Parameter("x", 0.0, 1.0), Parameter("rate", 0.05, 1.0, log=True)))


def main(argv: object = None) -> int:
    output, arguments = Path(sys.argv[1]), json.loads(sys.argv[2])
    bowl = Bowl(pause=arguments.pop("pause", 0.0), log=str(output) + ".log")
    settings = SearchSettings(output, **{"epochs": 9, "grace": 1, "checkpoint_every_s": 0.0, **arguments})
    result = run_search(bowl, SPACE, settings, (Progress(course=Course(9, 1, 3)),))
    print(
        json.dumps({"reason": result.reason, "finished": result.finished, "unfinished": result.unfinished}), flush=True
    )
    return 130 if result.reason == "interrupted" else 0


if __name__ == "__main__":
    sys.exit(command.run(main))
