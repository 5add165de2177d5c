from __future__ import annotations

import csv
import io
import json
import math
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.errors import UserError
from kdsearch.results import paper, tables
from kdsearch.results.formats import (
    FORMATS,
    Column,
    Table,
    decimals,
    escape_markdown,
    escape_tex,
    render,
    scientific,
    whole,
)
from kdsearch.results.result import Figure, Result

PAPER_FILE = Path(__file__).resolve().parents[3] / "shared" / "paper_tables.toml"
# The heading line of Table 2 and of Table 3 as printed.
TABLE2 = ["Models", "Batch Size", "Learning Rate", "α1", "α2", "α3", "α", "β"]
TABLE3 = ["Pruned %", "Batch Size", "Learning Rate", "α1", "α2", "α3"]


def grid(text: str) -> list[list[str]]:
    """Cells of the first Markdown table in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_table2_has_the_papers_columns_and_numbers(make_result):
    lines = grid(render(tables.table2([make_result()]), "md"))
    assert lines[0] == TABLE2
    assert lines[2] == ["L_STCD", "50", "1E-03", "0.170", "0.050", "0.310", "-", "-"]
    assert len(lines) == 3


def test_table2_is_in_the_papers_order(make_result):
    losses = ["none", "nst", "scd", "stcd", "ord", "skd", "rd_kl", "rd_l2"]
    params = {"batch_size": 50, "learning_rate": 1e-2}
    lines = grid(render(tables.table2([make_result(loss=loss, params=params) for loss in losses]), "md"))
    assert [line[0] for line in lines[2:]] == [
        "L_RD(L2)",
        "L_RD(KL)",
        "L_SKD",
        "L_ORD",
        "L_STCD",
        "L_SCD",
        "NST",
        "without KD",
    ]


def test_further_hyperparameters_get_columns_of_their_own(make_result):
    params = {"batch_size": 50, "learning_rate": 1e-3, "weight": 0.25}
    lines = grid(render(tables.table2([make_result(loss="fitnet", params=params)]), "md"))
    assert lines[0] == [*TABLE2, "weight"]
    assert lines[2] == ["FitNet", "50", "1E-03", "-", "-", "-", "-", "-", "0.250"]


def test_the_papers_row_stands_under_ours(make_result):
    found = [make_result(), make_result(loss="tcd")]
    lines = grid(render(tables.table2(found, with_paper=True), "md"))
    assert lines[0] == [*TABLE2, "Source"]
    assert lines[2][-1] == "ours"
    assert lines[3] == ["L_STCD", "50", "1E-03", "0.170", "0.047", "0.313", "-", "-", "paper"]
    assert [line[0] for line in lines[2:]] == ["L_STCD", "L_STCD", "L_TCD"]  # the paper has no row of L_TCD
    assert len(grid(render(tables.table2([make_result(dataset="demo")], with_paper=True), "md"))) == 3


def test_table3_has_the_papers_columns(make_result):
    found = [make_result(prune=25), make_result(prune=97), make_result()]
    (table,) = tables.table3(found, with_paper=True)
    lines = grid(render([table], "md"))
    assert lines[0] == [*TABLE3, "Source"]
    assert [line[0] for line in lines[2:]] == ["97%", "97%", "25%", "25%"]
    assert lines[3] == ["97%", "25", "1E-03", "0.746", "0.445", "0.020", "paper"]
    assert lines[5] == ["25%", "50", "1E-03", "0.971", "0.234", "0.684", "paper"]
    assert grid(render(tables.table3([make_result(prune=50, loss="ord")]), "md"))[0] == [*TABLE3, "Loss"]


def test_the_published_values_are_those_of_the_source():
    if not PAPER_FILE.exists():
        pytest.skip("paper_tables.toml stands beside the repository only where it is developed")
    source = tomllib.loads(PAPER_FILE.read_text())
    for dataset in ("pemsd7", "pemsd8"):
        for loss, values in source["table2"][dataset].items():
            assert paper.hyperparameters(dataset, loss, None) == values
        for ratio, values in source["table3"][dataset].items():
            assert paper.hyperparameters(dataset, "stcd", float(ratio)) == values


def test_comparison_has_the_control_before_what_it_is_the_control_of(make_document):
    document = make_document()
    document["baselines"]["student_control"] = {"n_parameters": 10144, "test": {"mae_15": 2.2}}
    (table,) = tables.comparison([Result.read(document, "test")])
    lines = grid(render([table], "md"))
    assert [line[0] for line in lines[-2:]] == ["Without KD, else as student L_STCD", "Student L_STCD"]
    assert lines[-2][1] == "10144"
    assert "2.200" in lines[-2]


def test_comparison_puts_the_references_first(make_result):
    (table,) = tables.comparison([make_result()])
    lines = grid(render([table], "md"))
    assert lines[0][:5] == ["Models", "Parameters", "MAPE 15 min", "MAPE 30 min", "MAPE 45 min"]
    assert lines[0][5:8] == ["MAE 15 min", "MAE 30 min", "MAE 45 min"]
    assert [line[0] for line in lines[2:]] == [
        "Copy last",
        "Ridge AR(12)",
        "Teacher",
        "Student without KD",
        "Student L_STCD",
    ]
    assert [line[1] for line in lines[2:]] == ["-", "-", "333604", "10144", "10144"]
    assert lines[2][5] == "2.600"
    assert lines[6][5] == "2.100 ± 0.010"


def test_references_that_differ_name_the_students_they_are_of(make_document):
    """A student belongs beside the teacher that it was told by, not beside another search's."""
    mine, other = make_document(), make_document(loss="ord")
    other["baselines"] = {**other["baselines"], "teacher": {"test": {"mae_15": 9.9}}}
    (table,) = tables.comparison([Result.read(document, "test") for document in (mine, other)])
    lines = {line[0]: line for line in grid(render([table], "md"))}
    assert "9.900" in lines["Teacher of L_ORD"]
    assert "9.900" not in lines["Teacher of L_STCD"]
    assert {"Copy last", "Ridge AR(12)", "Student without KD"} <= set(lines)


def test_results_of_other_recipes_are_told_apart(make_result):
    """By the recipe's name, which says more than the protocol's fingerprint."""
    best = make_result(2.5, search={"recipe": "best"}, fingerprint={"code": "c", "data": "d0", "protocol": "feedbeef"})
    lines = grid(render(tables.table2([make_result(), best]), "md"))
    assert [line[0] for line in lines[2:]] == ["L_STCD (recipe best)", "L_STCD (recipe paper)"]


def test_results_of_other_protocols_are_told_apart(make_result):
    other = {"code": "c", "data": "d0", "protocol": "feedbeefcafe"}
    lines = grid(render(tables.table2([make_result(2.5), make_result(2.4, fingerprint=other)]), "md"))
    assert [line[0] for line in lines[2:]] == ["L_STCD (protocol feedbeef)", "L_STCD (protocol p0)"]
    twice = grid(render(tables.table2([make_result(2.5), make_result(2.4), make_result(2.4)]), "md"))
    assert [line[0] for line in twice[2:]] == ["L_STCD (no. 1)", "L_STCD (no. 2)"]  # the same one twice counts once


def test_each_dataset_is_a_table_under_its_name(make_result):
    text = render(tables.table2([make_result(dataset="pemsd8"), make_result(), make_result(dataset="demo")]), "md")
    assert re.findall(r"^### .*: (.*)$", text, flags=re.M) == ["demo", "PeMSD7", "PeMSD8"]


params = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 512),
        "learning_rate": st.floats(1e-8, 1e3),
        "alpha1": st.floats(allow_nan=False, allow_infinity=False),
    }
)


@given(params)
def test_json_and_csv_lose_nothing(make_result, params):
    made = tables.table2([make_result(params=params)])
    (document,) = json.loads(render(made, "json"))
    assert {key: document["rows"][0][key] for key in params} == params
    (row,) = csv.DictReader(io.StringIO(render(made, "csv")))
    assert {key: type(value)(row[key]) for key, value in params.items()} == params
    assert row["alpha2"] == ""


def test_csv_gives_means_and_deviations_columns(make_result):
    result = make_result()
    rows = list(csv.DictReader(io.StringIO(render(tables.comparison([result]), "csv"))))
    assert float(rows[-1]["mae_30"]) == result.test["mae_30"].mean
    assert float(rows[-1]["mae_30_std"]) == result.test["mae_30"].std
    assert rows[0]["mae_30_std"] == ""
    assert {row["dataset"] for row in rows} == {"PeMSD7"}


def test_csv_refuses_two_kinds_of_table(make_result):
    made = tables.table2([make_result()]) + tables.table3([make_result(prune=97)])
    with pytest.raises(UserError, match="--table"):
        render(made, "csv")


@pytest.mark.parametrize("form", FORMATS)
def test_figures_that_are_not_there_are_blank(form):
    cells = {
        "a": None,
        "b": math.nan,
        "c": Figure(math.nan, math.nan),
        "d": Figure(1.5, math.nan),
        "e": Figure(1.5, 0.25),
    }
    columns = [Column(key, key.upper(), figure=isinstance(cell, Figure)) for key, cell in cells.items()]
    text = render([Table("t", "T", "d", columns, [cells])], form)
    assert not re.search(r"\b(nan|NaN|None)\b", text)
    shown = {
        "md": "| -   |   - |   - | 1.500 | 1.500 ± 0.250",
        "tex": r"- & - & - & 1.500 & 1.500 $\pm$ 0.250 \\",
        "csv": "d,,,,,1.5,,1.5,0.25",
        "json": '"mean": 1.5,\n          "std": null',
    }
    assert shown[form] in text


@given(st.floats(1e-12, 1e12))
def test_learning_rates_keep_three_digits(value):
    assert float(scientific(value)) == pytest.approx(value, rel=5.1e-3)
    assert re.fullmatch(r"\d(\.\d{1,2})?E[+-]\d\d", scientific(value))


@pytest.mark.parametrize(
    ("value", "text"), [(1e-3, "1E-03"), (0.01, "1E-02"), (2.5e-4, "2.5E-04"), (1.234e-3, "1.23E-03")]
)
def test_learning_rates_are_printed_as_in_the_paper(value, text):
    assert scientific(value) == text


def test_counts_are_whole():
    assert [whole(97.0), whole(333604), whole(12.5)] == ["97", "333604", "12.5"]
    assert decimals(0.04549) == "0.045"


def read_tex(text: str) -> str:
    """What LaTeX would print of a text without mathematics, by its rules for the escapes."""
    names = {
        "textbackslash": "\\",
        "textasciitilde": "~",
        "textasciicircum": "^",
        "textless": "<",
        "textgreater": ">",
        "textbar": "|",
    }
    out, i = [], 0
    while i < len(text):
        named = re.compile(r"\\([a-z]+)\{\}").match(text, i)
        if named:
            out.append(names[named.group(1)])
            i = named.end()
        elif text[i] == "\\":
            assert text[i + 1] in "{}&%$#_", text
            out.append(text[i + 1])
            i += 2
        else:
            assert text[i] not in "{}&%$#_~^", text
            out.append(text[i])
            i += 1
    return "".join(out)


printable = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=30)


@given(printable)
def test_tex_prints_any_text_as_it_stands(text):
    assert read_tex(escape_tex(text)) == text


@given(printable)
def test_markdown_shows_any_text_as_it_stands(text):
    escaped = escape_markdown(text)
    assert re.sub(r"\\(.)", r"\1", escaped) == text
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<`*]", escaped)


@given(name=st.text(min_size=1, max_size=30), loss=st.text(min_size=1, max_size=10))
def test_no_name_breaks_a_table(make_result, name, loss):
    made = tables.table2([make_result(dataset=name, loss=loss)])
    lines = grid(render(made, "md"))
    assert [len(line) for line in lines] == [len(TABLE2)] * 3
    tex = render(made, "tex")
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [0, 7, 7]
    assert tex.count("{") - tex.count(r"\{") == tex.count("}") - tex.count(r"\}")
    csv_rows = list(csv.reader(io.StringIO(render(made, "csv"), newline="")))
    assert [len(row) for row in csv_rows] == [9, 9]
    if name.isprintable():
        assert csv_rows[1][0] == paper.DATASETS.get(name, name)


def test_tex_is_a_booktabs_table(make_result):
    text = render(tables.table2([make_result(loss="rd_kl", params={"batch_size": 50, "learning_rate": 1e-3})]), "tex")
    assert r"\begin{tabular}{lrrrrrrr}" in text
    assert r"\multicolumn{8}{c}{PeMSD7} \\" in text
    assert r"Models & Batch Size & Learning Rate & $\alpha_1$ & $\alpha_2$ & $\alpha_3$ & $\alpha$ & $\beta$ \\" in text
    assert r"$L_{\mathrm{RD(KL)}}$ & 50 & 1E-03 & - & - & - & - & - \\" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert rf"\{rule}" in text
    (pruned,) = tables.comparison([make_result(prune=97)])
    assert r"Student $L_{\mathrm{STCD}}$, 97\% pruned & 10144 &" in render([pruned], "tex")


def test_best_shows_what_is_there(make_result):
    lines = grid(render(tables.best([make_result()]), "md"))
    assert lines[0] == [*TABLE2[:6], "Parameters", "Validation score (mph)", "Seeds", "Trials", "Epochs"]
    assert lines[2] == ["L_STCD", "50", "1E-03", "0.170", "0.050", "0.310", "10144", "2.900 ± 0.020", "3", "64", "50"]
