"""Calls, files and spaces that cannot work, by what is wrong: a table, run by ``test_messages.py``.

Every case starts from the same sound working folder and changes one thing in it or in the command.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tests.data.conftest import GRAPH, TOML, some_speeds
from tests.job.test_bad_calls import BAD_TRAIN, BAD_TUNE, SPACE

__all__ = ["ALL", "OWN", "Call", "sound"]

Files = Mapping[str, str | bytes]
NO_KD: Files = {"space.toml": SPACE.split("[stcd]")[0] + "[none]\n"}
HIDDEN: Files = {"space.toml": SPACE.split("[stcd]")[0] + "[fitnet]\nweight = { low = 0.1, high = 1.0 }\n"}
MINE = "--dataset corner.toml --space space.toml"
LONG = "x" * 256  # one more than a name may have


@dataclass(frozen=True)
class Call:
    """A command, its arguments, what the message must say, and files that differ from :func:`sound`."""

    command: str
    arguments: str
    says: str
    files: Files = field(default_factory=dict)


def sound() -> dict[str, str | bytes]:
    """A dataset of three sensors and four days, a space for it."""
    return {"corner.toml": TOML, "speeds.csv": csv(SPEEDS), "graph.csv": GRAPH, "space.toml": SPACE}


def csv(table: np.ndarray) -> str:
    out = io.StringIO()
    np.savetxt(out, table, delimiter=",", fmt="%.1f")
    return out.getvalue()


def changed(table: np.ndarray, where: object, value: float) -> np.ndarray:
    table = table.copy()
    table[where] = value
    return table


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def edited(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


SPEEDS = some_speeds(4, 24, 3).reshape(-1, 3)
CUBE = np.stack([SPEEDS, SPEEDS], axis=-1)


def tune(arguments: str, says: str, files: Files | None = None) -> Call:
    return Call("tune", f"{MINE} {arguments}", says, files or {})


def declaration(old: str, new: str, says: str) -> Call:
    return Call("tune", MINE, says, {"corner.toml": edited(TOML, old, new)})


def speeds(content: str | bytes, says: str) -> Call:
    return Call("tune", MINE, says, {"speeds.csv": content})


def array(content: bytes, says: str, more: str = "") -> Call:
    toml = edited(TOML, 'file = "speeds.csv"', f'file = "speeds.npz"\n{more}')
    return Call("tune", MINE, says, {"corner.toml": toml, "speeds.npz": content})


def graph(content: str | bytes, says: str, more: str = "") -> Call:
    toml = edited(TOML, 'file = "graph.csv"', f'file = "graph.csv"\n{more}')
    return Call("tune", MINE, says, {"corner.toml": toml, "graph.csv": content})


def space(old: str, new: str, says: str) -> Call:
    return Call("tune", MINE, says, {"space.toml": edited(SPACE, old, new)})


def best(says: str, **changes: object) -> Call:
    """A best.json that is not one."""
    document = {"schema": 1, "dataset": "corner", "loss": "stcd", **changes}
    return Call("train", "--dataset corner.toml --params best.json", says, {"best.json": json.dumps(document)})


FLAGS: dict[str, Call] = {
    "--prune above all": tune("--prune 100", "below 100"),
    "--prune nothing": tune("--prune 0", "above 0"),
    "--prune no number": tune("--prune most", "percent"),
    "--prune not a number": tune("--prune nan", "percent"),
    "--criterion without --prune": tune("--criterion taylor", "--prune"),
    "--criterion unknown": tune("--prune 97 --criterion kids", "did you mean kdis?"),
    "--granularity unknown": tune("--prune 97 --granularity channel", "filter, weight"),
    "--finetune-loss unknown": tune("--prune 97 --finetune-loss kdd", "did you mean kd?"),
    "--unreachable unknown": tune("--prune 97 --unreachable warn", "error, nearest"),
    "--start unknown": tune("--prune 97 --start student", "teacher, base"),
    "--start without --prune": tune("--start base", "--prune"),
    "--cost without a front": tune("--cost latency", "--objective pareto"),
    "--cost unknown": tune("--objective pareto --cost flops", "parameters, latency"),
    "--objective unknown": tune("--objective pareta", "did you mean pareto?"),
    "--objective with --prune": tune("--objective pareto --prune 97", "leave --prune out"),
    "--objective with a scheduler of one": Call("tune", "--objective pareto --scheduler median", "asha or none"),
    "--loss that cannot be pruned with": Call("tune", "--dataset corner.toml --loss fitnet --prune 50", "fitnet"),
    "--recipe unknown": tune("--recipe bets", "did you mean best?"),
    "--recipe with runs": tune("--recipe best --teacher-epochs 1 --teacher-run-length 4", "--teacher-run-length 4"),
    "--trials no number": tune("--trials many", "whole number"),
    "--trials negative": tune("--trials -3", "at least 1"),
    "--epochs none": tune("--epochs 0", "at least 1"),
    "--teacher-epochs none": tune("--teacher-epochs 0", "at least 1"),
    "--teacher-run-length negative": tune("--teacher-run-length -1", "at least 1"),
    "--time-budget negative": tune("--time-budget=-2h", "span of time"),
    "--time-budget nothing": tune("--time-budget 0s", "span of time"),
    "--time-budget endless": tune("--time-budget inf", "span of time"),
    "--trial-timeout without a unit": tune("--trial-timeout 60", "unit"),
    "--trial-timeout nothing": tune("--trial-timeout 0s", "span of time"),
    "--confirm no seeds": tune("--confirm 3x0", "KxS"),
    "--confirm negative": tune("--confirm=-1x3", "KxS"),
    "--concurrency nothing": tune("--concurrency 0", "at least 1"),
    "--concurrency unknown": tune("--concurrency all", "auto or a whole number"),
    "--gpus-per-trial negative": tune("--gpus-per-trial=-1", "--gpus-per-trial"),
    "--gpus-per-trial not a number": tune("--gpus-per-trial nan", "--gpus-per-trial"),
    "--cpus-per-trial half": tune("--cpus-per-trial 0.5", "whole number"),
    "--bank-memory nothing": tune("--bank-memory 0GB", "amount of memory"),
    "--bank-memory in words": tune("--bank-memory lots", "amount of memory"),
    "--teachers nobody": tune("--teachers 0", "--teachers"),
    "--teachers without KD": tune("--teachers 3 --loss none", "reads no teacher", NO_KD),
    "--teachers of hidden channels": tune("--teachers 3 --loss fitnet", "compares hidden channels", HIDDEN),
    "--address nobody answers": tune("--address 127.0.0.1:9 --output out", "--address 127.0.0.1:9"),
    "--address empty": Call("tune", f"{MINE} --address=", "--address"),
    "--output of no known file system": tune("--output ftp://host/run", "no file system is known by this name"),
    "--output in a bucket without a name": tune("--output s3:///run", "cannot be reached"),
    "--output at an address that names no folder": tune("--output file:///", "names no folder"),
    "--output at an address that cannot be written": tune("--output file:///proc/none/run", "cannot be written"),
    "--warm-points of nothing": tune("--warm-points 3", "--warm-start DIR"),
    "--store that is a file": tune("--store speeds.csv", "speeds.csv is no folder"),
    "train: --seed beyond all": Call("train", "--dataset corner.toml --seed 18446744073709551616", "from 0 to"),
    "train: --output at an address": Call("train", "--dataset corner.toml --output s3://bucket/run", "not the address"),
    "export: --store of no dataset": Call("export", "--output . --store .", "with --output leave it out"),
    "--warm-start from an address with nothing": tune("--warm-start file:///proc/none/run", "there is nothing"),
    "export: --output at an address with nothing": Call("export", "--output file:///proc/none/run", "there is nothing"),
    "export: --model of an address": Call("export", "--output file:///a/run --model pt2", "say with --file"),
    "--space a folder": tune("--space .", "directory"),
    "--set with nothing": tune("--set batch_size=", "key=value"),
    "--set no number": tune("--set learning_rate=nan", "wants a number"),
    "--set below its range": tune("--set learning_rate=-1", "learning_rate"),
    "--set beyond its range": tune("--set learning_rate=1e30", "learning_rate"),
    "--set a batch of nothing": tune("--set batch_size=0", "batch_size"),
    "--set half a window": tune("--set batch_size=1.5", "batch_size"),
    "--set endless": tune("--set alpha1=inf", "alpha1"),
    "--dataset empty": Call("tune", "--dataset=", "unknown dataset"),
    "--dataset a very long name": Call("tune", f"--dataset {LONG}", "unknown dataset"),
    "--data-dir a very long name": Call("tune", f"--dataset pemsd7 --data-dir {LONG}", "too long"),
    "--output a very long name": Call("tune", f"{MINE} --output {LONG}", "too long; give another path"),
    "train: --params a very long name": Call("train", f"--params {LONG}", "too long; give another path"),
    "export: a very long name": Call("export", f"--output {LONG}", "too long; give another path"),
    "graph.file of a very long name": declaration('"graph.csv"', f'"{LONG}"', "no file xxx"),
    "--dataset a folder": Call("tune", "--dataset .", "unknown dataset"),
    "--resume with nothing there": tune("--resume --output nowhere --trials 0", "at least 1"),
    "--data-dir of a known set, offline": Call("tune", "--dataset pemsd7 --data-dir file", "PeMSD7_V_228.csv"),
    "an option twice its value": tune("--seed 1 2", "unknown argument 2"),
    "an option without a value": tune("--loss", "--loss"),
    "train: unknown model": Call("train", "--model nothing", "teacher, base, student"),
    "train: --seeds negative": Call("train", "--seeds -2", "at least 1"),
    "train: --set and --params": best("schema", schema=99),
    "export: nothing asked for": Call("export", "", "--output"),
    "export: no search there": Call("export", "--output nowhere", "nowhere"),
    "export: unknown format": Call("export", "--output nowhere --format xls", "json, csv, md, tex"),
    "export: unknown table": Call("export", "--output nowhere --table 9", "--table"),
    "export: nothing stored": Call("export", "--dataset corner --store nowhere", "corner"),
}

DECLARATIONS: dict[str, Call] = {
    "empty": Call("tune", MINE, "[speeds]", {"corner.toml": ""}),
    "not UTF-8": Call("tune", MINE, "UTF-8", {"corner.toml": b'name = "\xff"'}),
    "not TOML": Call("tune", MINE, "TOML", {"corner.toml": "name: corner"}),
    "unknown key": declaration("steps_per_day", "steps_a_day", "did you mean steps_per_day?"),
    "unknown section": declaration("[graph]", "[grpah]", "did you mean graph?"),
    "key in the wrong section": declaration("[split]", "[split]\nunit = 'mph'", "[speeds]"),
    "name no text": declaration('name = "corner"', "name = 7", "name"),
    "name a path": declaration('name = "corner"', 'name = "../corner"', "file name"),
    "name of a published set": declaration('name = "corner"', 'name = "pemsd7"', "pemsd7"),
    "space that is not there": Call(
        "tune", "--dataset corner.toml", "corner-space", {"corner.toml": 'space = "corner-space"\n' + TOML}
    ),
    "steps_per_day no divisor": declaration("steps_per_day = 24", "steps_per_day = 25", "1440"),
    "steps_per_day negative": declaration("steps_per_day = 24", "steps_per_day = -24", "1440"),
    "steps_per_day too coarse": declaration("steps_per_day = 24", "steps_per_day = 12", "12 steps"),
    "first_step beyond the day": declaration("steps_per_day = 24", "steps_per_day = 24\nfirst_step = 24", "first_step"),
    "missing by another word": declaration("steps_per_day = 24", "steps_per_day = 24\nmissing = 'none'", "missing"),
    "speeds.file missing": declaration('file = "speeds.csv"', "", "speeds.file"),
    "speeds.file not there": declaration('file = "speeds.csv"', 'file = "speed.csv"', "speed.csv"),
    "speeds.file a folder": declaration('file = "speeds.csv"', 'file = "."', "no file ."),
    "speeds.format unknown": declaration("[speeds]", "[speeds]\nformat = 'xls'", "speeds.format"),
    "speeds.unit unknown": declaration("[speeds]", "[speeds]\nunit = 'kph'", "speeds.unit"),
    "speeds.unit of other speeds": Call(
        "tune",
        MINE,
        "faster than any car",
        {"corner.toml": edited(TOML, "[speeds]", "[speeds]\nunit = 'm/s'"), "speeds.csv": csv(SPEEDS * 2)},
    ),
    "speeds.channel of a csv": declaration("[speeds]", "[speeds]\nchannel = 1", "speeds.channel"),
    "speeds.key of a csv": declaration("[speeds]", "[speeds]\nkey = 'a'", "speeds.key"),
    "speeds.skip_columns all": declaration("[speeds]", "[speeds]\nskip_columns = 3", "skip_columns = 3"),
    "split of no days": declaration("train = 2", "train = 0", "split.train"),
    "split in hours": declaration("train = 2", "train = 2.5", "split.train"),
    "split of more days than there are": declaration("train = 2", "train = 3", "needs 5"),
    "split without a test": declaration("test = 1\n", "", "split.test"),
    "graph.format unknown": declaration("[graph]", "[graph]\nformat = 'list'", "graph.format"),
    "graph.unit unknown": declaration("[graph]", "[graph]\nunit = 'miles'", "graph.unit"),
    "graph.sigma2 nothing": declaration("[graph]", "[graph]\nsigma2 = 0.0", "graph.sigma2"),
    "graph.epsilon above one": declaration("[graph]", "[graph]\nepsilon = 1.1", "graph.epsilon"),
    "graph.symmetrise no answer": declaration("[graph]", "[graph]\nsymmetrise = 1", "graph.symmetrise"),
    "a partial day that may not be dropped": Call(
        "tune",
        MINE,
        "drop_incomplete_days",
        {"corner.toml": "drop_incomplete_days = false\n" + TOML, "speeds.csv": csv(SPEEDS[:-1])},
    ),
}

READINGS: dict[str, Call] = {
    "empty": speeds("", "is empty"),
    "blank lines": speeds("\n\n\n", "is empty"),
    "a header alone": speeds("a,b,c\n", "no numbers"),
    "not UTF-8": speeds(b"1,2,\xff\n", "UTF-8"),
    "UTF-16": speeds("1,2,3\n".encode("utf-16"), "UTF-8"),
    "a word": speeds(edited(csv(SPEEDS), ",", ",fast,"), "'fast'"),
    "a ragged row": speeds(csv(SPEEDS) + "1,2\n", "2 columns"),
    "parted by semicolons": speeds(csv(SPEEDS).replace(",", ";"), "';'"),
    "negative": speeds(csv(changed(SPEEDS, (5, 1), -3)), "-3"),
    "infinite": speeds(csv(changed(SPEEDS, (5, 1), np.inf)), "inf"),
    "huge": speeds(csv(changed(SPEEDS, (5, 1), 1e30)), "faster than any car"),
    "flow for speed": speeds(csv(SPEEDS * 20), "faster than any car"),
    "a sensor of NaN": speeds(csv(changed(SPEEDS, (slice(None), 1), np.nan)), "sensor 1"),
    "all of NaN": speeds(csv(changed(SPEEDS, slice(None), np.nan)), "sensor 0"),
    "too few days": speeds(csv(SPEEDS[:60]), "whole days"),
    "less than a day": speeds(csv(SPEEDS[:5]), "0 whole days"),
    "fewer sensors than the graph": speeds(csv(SPEEDS[:, :2]), "2"),
    "a time stamp": speeds("".join(f"2012-05-01,{row}\n" for row in csv(SPEEDS).splitlines()), "skip_columns = 1"),
    "npz of nothing": array(b"", "npz"),
    "npz cut off": array(npz(data=SPEEDS)[:500], "npz"),
    "npz of several": array(npz(a=SPEEDS, b=SPEEDS), "a, b"),
    "npz without the key": array(npz(a=SPEEDS), "'flow'", 'key = "flow"'),
    "npz of channels": array(npz(data=CUBE), "which is speed"),
    "npz without the channel": array(npz(data=CUBE), "channel 2", "channel = 2"),
    "npz of one axis": array(npz(data=SPEEDS[0]), "(3,)"),
    "npz of four axes": array(npz(data=CUBE[None]), "(1, 96, 3, 2)"),
    "npz of words": array(npz(data=np.array([["a"]])), "numbers"),
    "npz of objects": array(npz(data=np.array([[{}]], dtype=object)), "npz"),
    "npz of no rows": array(npz(data=SPEEDS[:0]), "empty"),
    "npz of complex numbers": array(npz(data=SPEEDS.astype(complex)), "numbers"),
    "a single sensor and a loss of pairs": Call(
        "tune", MINE, "pairs of sensors", {"speeds.csv": csv(SPEEDS[:, :1]), "graph.csv": "0\n"}
    ),
    "an array for an archive": array(npz(data=SPEEDS).replace(b"PK", b"KP"), "npz"),
}

GRAPHS: dict[str, Call] = {
    "empty": graph("", "is empty"),
    "not square": graph("0,1,2\n1,0,2\n", "2 x 3"),
    "of other sensors": graph("0,1\n1,0\n", "2 sensors"),
    "asymmetric": graph("0,1000,inf\n900,0,2000\ninf,2000,0\n", "symmetrise"),
    "negative": graph("0,-1,inf\n-1,0,2\ninf,2,0\n", "negative"),
    "a word": graph("0,near,inf\n1,0,2\ninf,2,0\n", "'near'"),
    "weights for distances": graph("0,0,0\n0,0,0.9\n0,0.9,0\n", "graph.format"),
    "asymmetric weights": graph("0,1,0\n0,0,1\n0,1,0\n", "not symmetric", "format = 'weights'"),
    "negative weights": graph("0,-1,0\n-1,0,1\n0,1,0\n", "negative", "format = 'weights'"),
    "edges of two columns": graph("0,1\n1,2\n", "three columns", "format = 'edges'"),
    "edge to nowhere": graph("0,1,5\n1,3,5\n", "sensors 0 to 2", "format = 'edges'"),
    "edge from half a sensor": graph("0.5,1,5\n", "no edge", "format = 'edges'"),
    "negative edge": graph("0,1,-5\n", "no edge", "format = 'edges'"),
    "infinite edge": graph("0,1,inf\n", "no edge", "format = 'edges'"),
    "edges for a matrix": graph("0,1,5\n1,2,5\n1,2,5\n2,1,6\n", 'format = "edges"'),
    "no two sensors are joined": graph("0,9e9,9e9\n9e9,0,9e9\n9e9,9e9,0\n", "no two sensors"),
}

SPACES: dict[str, Call] = {
    "empty": Call("tune", MINE, "no section [stcd]", {"space.toml": ""}),
    "not UTF-8": Call("tune", MINE, "UTF-8", {"space.toml": b"\xff"}),
    "a byte order mark": Call("tune", MINE, "TOML", {"space.toml": "\ufeff[stcd"}),
    "a section of no loss": space("[stcd]", "[stdc]", "did you mean stcd?"),
    "no range": space("{ low = 0.1, high = 1.0 }", "0.5", "alpha1"),
    "low missing": space("low = 0.1, ", "", "misses low"),
    "low above high": space("low = 0.1, high = 1.0", "low = 1.0, high = 0.5", "not below"),
    "low not a number": space("low = 0.1", "low = nan", "wants a number"),
    "high endless": space("high = 1.0", "high = inf", "wants a number"),
    "beyond what the loss takes": space("low = 0.1", "low = -0.1", "outside"),
    "log from zero": space("{ low = 0.1, high = 1.0 }", "{ low = 0.0, high = 1.0, log = true }", "above 0"),
    "log no answer": space("log = true", "log = 'yes'", "true or false"),
    "unknown setting": space("log = true", "logg = true", "did you mean log?"),
    "no choices": space("choices = [50]", "choices = []", "at least one"),
    "choices no numbers": space("choices = [50]", "choices = ['a']", "not a number"),
    "choice twice": space("choices = [50]", "choices = [50, 50]", "twice"),
    "half a window": space("choices = [50]", "choices = [50.5]", "whole"),
    "choices and a range": space("choices = [50]", "choices = [50], low = 1", "one of the two"),
    "known no list": space("[stcd]", "[stcd]\nknown = 3", "list of points"),
    "known outside": space(
        "[stcd]",
        "[stcd]\nknown = [{ batch_size = 51, learning_rate = 1e-3, alpha1 = 0.5, alpha2 = 0.5, alpha3 = 0.5 }]",
        "point 1: batch_size = 51",
    ),
    "known with a stranger": space("[stcd]", "[stcd]\nknown = [{ beta = 1 }]", "beta"),
    "prune of nothing": space("[stcd]", "[stcd.prune.0]\n[stcd]", "percent"),
    "defaults unknown": space("[common]", "[defaults]\nseeds = 3\n[common]", "no setting seeds"),
    "defaults negative": space("[common]", "[defaults]\ntrials = -1\n[common]", "at least 1"),
    "defaults confirm": space("[common]", "[defaults]\nconfirm = 3\n[common]", "KxS"),
    "recipe unknown": space("[common]", "[recipe.bets.common]\n[common]", "did you mean best?"),
    "recipe of no loss here": space("[common]", "[recipe.best.ord]\n[common]", "no section outside the recipe"),
    "grace beyond the end": space("[common]", "[defaults]\nepochs = 3\n[common]", "grace = 5"),
    "ranges of pruning missing": Call("tune", f"{MINE} --prune 50", "pruning_minibatch"),
}

FILES: dict[str, Call] = {
    "best.json of a list": Call("train", "--params best.json", "not a JSON object", {"best.json": "[]"}),
    "best.json empty": Call("train", "--params best.json", "not JSON", {"best.json": ""}),
    "best.json not UTF-8": Call("train", "--params best.json", "not JSON", {"best.json": b"\xff\xfe"}),
    "best.json of nothing": best("best.json"),
    "best.json cut off": Call("train", "--params best.json", "not JSON", {"best.json": '{"schema": 1, "data'}),
    "store damaged": Call("export", "--dataset corner --store .", "not JSON", {"corner.json": "{"}),
    "store of another": Call(
        "export",
        "--dataset corner --store .",
        "belongs to",
        {"corner.json": json.dumps({"schema": 1, "dataset": "other", "entries": []})},
    ),
    "store of another age": Call("export", "--dataset corner --store .", "schema", {"corner.json": '{"schema": 0}'}),
    "journal of garbage": Call(
        "tune", f"{MINE} --output run --resume", "damaged", {"run/study.journal": "garbage\n" * 3 + "{}\n"}
    ),
    "journal not UTF-8": Call(
        "tune", f"{MINE} --output run --resume", "damaged", {"run/study.journal": b"\xff\xff\n{}\n{}\n"}
    ),
}


def _existing() -> dict[str, Call]:
    mine = {f"tune: {name}": Call("tune", arguments, says) for name, (arguments, says) in BAD_TUNE.items()}
    return mine | {f"train: {name}": Call("train", arguments, says) for name, (arguments, says) in BAD_TRAIN.items()}


OWN: dict[str, dict[str, Call]] = {
    "flags": FLAGS,
    "declarations of datasets": DECLARATIONS,
    "readings": READINGS,
    "graphs": GRAPHS,
    "search spaces": SPACES,
    "other files": FILES,
}
# With those of tests/job/test_bad_calls.py, whose folder they need.
ALL = {**OWN, "everyday mistakes": _existing()}
