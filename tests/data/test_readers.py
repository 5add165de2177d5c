from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kdsearch.data import readers
from kdsearch.errors import UserError

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, content: str | bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "table", "line"),
    [
        ("60,61\n62,63\n", [[60, 61], [62, 63]], 1),
        ("60,61\r\n62,63", [[60, 61], [62, 63]], 1),
        ("\ufeff60,61\n62,63\n\n", [[60, 61], [62, 63]], 1),
        ("a,b\n60,61\n", [[60, 61]], 2),
        ("\na,\n60,61\n", [[60, 61]], 3),
        ("400001,400017,400030,401000\n60,61,62,63\n", [[60, 61, 62, 63]], 2),
        (" 6e1, 61.5 \n,63\n", [[60, 61.5], [np.nan, 63]], 1),
        ("60\n61\n", [[60], [61]], 1),
        ("nan,61\n62,NaN\n", [[np.nan, 61], [62, np.nan]], 1),
    ],
)
def test_tables_are_read(tmp_path: Path, text: str, table: list[list[float]], line: int) -> None:
    found, first = readers.read_table(write(tmp_path, text))
    np.testing.assert_array_equal(found, np.array(table, dtype=float))
    assert first == line


def test_a_time_stamp_column_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path, "time,s1,s2\n2012-05-01 00:00,60,\n2012-05-01 00:05,62,63\n")
    speeds = readers.read_speeds(path, "csv", skip_columns=1)
    np.testing.assert_array_equal(speeds, [[60, np.nan], [62, 63]])
    with pytest.raises(UserError, match=r"line 2, column 1 is '2012-05-01 00:00'.*skip_columns = 1"):
        readers.read_speeds(path, "csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "is empty"),
        (b"a,b\n", "holds no numbers"),
        (b"60,61\n62\n", "line 2 has 1 column where line 1 has 2"),
        (b"60,61\n62,63,64\n", "line 2 has 3 columns where line 1 has 2"),
        (b"60,61\n\n62,63\n", "line 2 is empty"),
        (b"60,61\n62,6x3\n", "line 2, column 2 is '6x3', not a number"),
        (b"60,x\n62,63\n", "line 1, column 2 is 'x', not a number"),
        (b"s1,s2\n60,61\n62,-3\n", r"line 3, sensor 1 .* reads -3"),
        (b"60,inf\n", r"line 1, sensor 1 .* reads inf"),
        (b"60,61\n62,\xff\n", "line 2 is not UTF-8"),
        (b"60;61\n62;63\n", "columns are parted by ';'"),
        (b"60,6_1\n", "column 2 is '6_1'"),
        (b'"' + b"x" * 200_000 + b",60\n61\n", "line"),
        (b"60;" * 70_000 + b"\n", "columns are parted by ';'"),
    ],
)
def test_a_bad_csv_says_where(tmp_path: Path, content: bytes, words: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError, match=words) as caught:
        readers.read_speeds(path, "csv")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("0,1", ["0", "1"]),
        ("1,2", ["1", "2"]),
        ('"S0","S, 1"', ["S0", "S, 1"]),
        ('"1","17"', ["1", "17"]),
        ("4008,4009,4010,4011", ["4008", "4009", "4010", "4011"]),
    ],
)
def test_a_header_is_no_reading(tmp_path: Path, head: str, names: list[str]) -> None:
    """Names, quoted ones too, the ids of sensors, and the numbers that pandas writes over its columns."""
    path = write(tmp_path, f"{head}\n{','.join(['60'] * len(names))}\n".encode())
    assert readers.read_speeds(path, "csv").tolist() == [[60.0] * len(names)]
    assert readers.header(path) == names


def test_the_first_row_of_a_matrix_may_count(tmp_path: Path) -> None:
    path = write(tmp_path, b"0,1,2\n1,0,1\n2,1,0\n")
    assert readers.read_matrix(path)[0].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("format", ["csv", "npz", "npy"])
def test_absent_files_and_folders(tmp_path: Path, format: str) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        readers.read_speeds(tmp_path / "none", format)
    with pytest.raises(UserError, match="cannot be read"):
        readers.read_speeds(tmp_path, format)


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


CUBE = np.arange(24.0).reshape(4, 2, 3)


def test_arrays_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, npz(data=CUBE), "a.npz")
    np.testing.assert_array_equal(readers.read_speeds(path, "npz", channel=2), CUBE[..., 2])
    np.testing.assert_array_equal(readers.read_speeds(path, "npz", key="data", channel=0), CUBE[..., 0])
    two = write(tmp_path, npz(a=CUBE[..., 0], b=CUBE[..., 1]), "b.npz")
    np.testing.assert_array_equal(readers.read_speeds(two, "npz", key="b"), CUBE[..., 1])
    one = write(tmp_path, npy(CUBE[..., :1].astype(np.int16)), "c.npy")
    np.testing.assert_array_equal(readers.read_speeds(one, "npy"), CUBE[..., 0])


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (npz(data=CUBE), {}, "say which is speed \\(channel, --channel\\)"),
        (npz(data=CUBE), {"channel": 3}, "channel 3 asked for, there are 0 to 2"),
        (npz(data=CUBE), {"key": "speed"}, "has no array 'speed': it holds data"),
        (npz(a=CUBE, b=CUBE), {}, "holds several arrays: it holds a, b; name one \\(key, --key\\)"),
        (npz(data=CUBE[0, 0]), {}, "speeds are steps x sensors"),
        (npz(data=CUBE[..., 0]), {"channel": 2}, "has no channels"),
        (npz(data=np.array([["a"]])), {}, "speeds are numbers"),
        (npz(data=np.zeros((0, 3))), {}, "is empty"),
        (npz(data=np.array([[object()]])), {}, "no readable npz"),
        (npz(data=-CUBE[..., 1]), {}, "step 0, sensor 0 .* reads -1"),
        (npz(data=CUBE)[:200], {}, "no readable npz"),
        (b"PK\x03\x04 no archive", {}, "no readable npz"),
        (npy(CUBE), {}, "no npz archive"),
        (b"", {}, "no readable npz"),
    ],
)
def test_a_bad_npz_says_what(tmp_path: Path, content: bytes, options: dict[str, object], words: str) -> None:
    path = write(tmp_path, content, "x.npz")
    with pytest.raises(UserError, match=words) as caught:
        readers.read_speeds(path, "npz", **options)  # type: ignore[arg-type]
    assert str(path) in str(caught.value)


class _Touches:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    array = np.empty((1, 1), dtype=object)
    array[0, 0] = _Touches(trace)
    for name, content in (("e.npy", npy(array)), ("e.npz", npz(data=array))):
        path = write(tmp_path, content, name)
        with pytest.raises(UserError, match="no readable"):
            readers.read_speeds(path, name[2:])
        assert not trace.exists()
    np.load(tmp_path / "e.npy", allow_pickle=True)
    assert trace.exists(), "the trap works, so its silence above means something"


def test_matrix(tmp_path: Path) -> None:
    m = readers.read_matrix(write(tmp_path, "0,5,\n5,0,inf\nnan,inf,0\n"))
    np.testing.assert_array_equal(m, [[0, 5, np.inf], [5, 0, np.inf], [np.inf, np.inf, 0]])
    with pytest.raises(UserError, match="is square, this one is 1 x 2"):
        readers.read_matrix(write(tmp_path, "0,5\n"))
    with pytest.raises(UserError, match=r"line 2, column 1 is negative \(-5\)"):
        readers.read_matrix(write(tmp_path, "0,5\n-5,0\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from,to\n0,1\n", "has three columns"),
        ("from,to,cost\n0,1,5\n1,3,5\n", r"line 3 \(1,3,5\) is no edge: from and to are sensors 0 to 2"),
        ("0,1,5\n-1,2,5\n", r"line 2 \(-1,2,5\)"),
        ("0,1,5\n1.5,2,5\n", "line 2"),
        ("0,1,-5\n", "line 1"),
        ("0,1,\n", "line 1"),
        ("0,1,inf\n", "line 1"),
    ],
)
def test_bad_edges(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        readers.read_edges(write(tmp_path, text), 3)


def test_edges(tmp_path: Path) -> None:
    edges = readers.read_edges(write(tmp_path, "from,to,cost\n0,1,310.6\n1,2,330.9\n"), 3)
    np.testing.assert_array_equal(edges, [[0, 1, 310.6], [1, 2, 330.9]])


def answers_or_tells(read: Callable[[], np.ndarray]) -> None:
    """Whatever the bytes: a proper result or one sentence."""
    try:
        found = read()
    except UserError:
        return
    assert found.ndim == 2
    assert found.size > 0
    assert not np.isinf(found).any()
    assert not (found < 0).any()


LINES = st.lists(st.text(alphabet='0123456789.,-+einfa \t"#;_', max_size=12), max_size=6).map("\n".join)


@FUZZ
@given(LINES)
@example("#1,2\n3,4")
@example('"1","2"\n3,4')
@example("1e999,2")
@example("0x10,2")
@example("\u0661,\u0662")
def test_no_text_breaks_the_csv_reader(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    answers_or_tells(lambda: readers.read_speeds(path, "csv"))


@FUZZ
@given(st.binary(max_size=80))
def test_no_bytes_break_any_reader(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    for format in ("csv", "npz", "npy"):
        answers_or_tells(lambda format=format: readers.read_speeds(path, format))  # type: ignore[misc]


@FUZZ
@given(st.sampled_from([npz(data=CUBE), npy(CUBE)]), st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_no_damage_breaks_the_array_readers(tmp_path: Path, whole: bytes, at: int, byte: int, cut: bool) -> None:
    at %= len(whole)
    damaged = whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :]
    path = write(tmp_path, damaged)
    format = "npz" if whole[:2] == b"PK" else "npy"
    answers_or_tells(lambda: readers.read_speeds(path, format, channel=1))


@FUZZ
@given(LINES)
def test_no_text_breaks_the_graph_readers(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    for read in (lambda: readers.read_matrix(path), lambda: readers.read_edges(path, 3)):
        try:
            found = read()
        except UserError:
            continue
        assert found.ndim == 2
        assert not (found < 0).any()


def test_a_damaged_compressed_archive(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.savez_compressed(out, data=np.random.default_rng(0).random((50, 20)))
    whole = bytearray(out.getvalue())
    info = zipfile.ZipFile(io.BytesIO(bytes(whole))).infolist()[0]
    whole[info.header_offset + 200 : info.header_offset + 220] = b"\0" * 20
    with pytest.raises(UserError, match="no readable npz"):
        readers.read_speeds(write(tmp_path, bytes(whole), "x.npz"), "npz")
