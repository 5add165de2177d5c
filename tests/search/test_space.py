from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.distillation import losses
from kdsearch.errors import UserError
from kdsearch.search.space import find, load

GOOD = """
[defaults]
trials = 8
epochs = 9
grace = 3
[common]
batch_size = { choices = [25, 50] }
learning_rate = { low = 1e-4, high = 1e-2, log = true }
beta = { low = 0.0, high = 1.0 }
pruning_minibatch = { low = 5, high = 25, log = true }
stage_percent = { low = 10, high = 40 }
[ord]
alpha1 = { low = 0.1, high = 0.9 }
known = [{ batch_size = 50, learning_rate = 0.001, alpha1 = 0.5 },
  { batch_size = 25, learning_rate = 0.01, alpha1 = 0.5 }]
[ord.prune.97]
alpha1 = { low = 0.2, high = 0.4 }
known = [{ batch_size = 25, learning_rate = 0.001, alpha1 = 0.3, pruning_minibatch = 7, stage_percent = 20 }]
[rd_l2]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "space.toml"
    path.write_text(text)
    return path


def test_a_space_is_read(tmp_path: Path) -> None:
    space = load(write(tmp_path, GOOD), "ord")
    assert space.names == ("batch_size", "learning_rate", "alpha1")
    assert space.parameters[0].choices == (25, 50)
    assert (space.parameters[1].low, space.parameters[1].high, space.parameters[1].log) == (1e-4, 1e-2, True)
    assert space.known[0] == {"batch_size": 50, "learning_rate": 0.001, "alpha1": 0.5}
    assert (space.defaults.trials, space.defaults.epochs, space.defaults.reduction) == (8, 9, 3)
    assert load(write(tmp_path, GOOD), "rd_l2").names == ("batch_size", "learning_rate", "beta")


RECIPE = """
[recipe.best.common]
batch_size = { low = 8, high = 40, log = true }
[recipe.best.ord]
known = [{ batch_size = 17, learning_rate = 0.007, alpha1 = 0.8 }]
[recipe.best.defaults]
trials = 4
"""


def test_a_recipe_has_its_own_entries_and_points(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + RECIPE)
    plain, best = load(path, "ord"), load(path, "ord", recipe="best")
    assert plain == load(path, "ord", recipe="paper") == load(write(tmp_path, GOOD), "ord")
    assert (best.parameters[0].low, best.parameters[0].high, best.parameters[0].integer) == (8, 40, True)
    assert best.parameters[1:] == plain.parameters[1:]
    assert best.known == ({"batch_size": 17, "learning_rate": 0.007, "alpha1": 0.8},)
    assert (best.defaults.trials, best.defaults.epochs, plain.defaults.trials) == (4, 9, 8)
    assert best.digest() != plain.digest()


def test_a_pruned_network_is_searched_as_under_the_papers_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + RECIPE)
    for percent in (97, 50):
        assert load(path, "ord", percent, recipe="best") == load(path, "ord", percent)


def test_without_points_of_the_recipe_the_others_begin_at_its_rate(tmp_path: Path) -> None:
    text = GOOD + RECIPE.split("[recipe.best.ord]")[0]
    assert load(write(tmp_path, text), "ord", recipe="best").known == (
        {"batch_size": 40, "learning_rate": 0.003, "alpha1": 0.5},  # 50 is outside the range of the recipe
        {"batch_size": 25, "learning_rate": 0.003, "alpha1": 0.5},
    )
    plain = load(write(tmp_path, GOOD), "ord", recipe="best")
    assert [(p["batch_size"], p["learning_rate"]) for p in plain.known] == [(50, 0.003), (25, 0.003)]
    assert plain.digest() == load(write(tmp_path, GOOD), "ord").digest()
    narrow = GOOD.replace("high = 1e-2, log = true", "high = 1e-3, log = true").replace("0.01,", "0.001,")
    assert [p["learning_rate"] for p in load(write(tmp_path, narrow), "ord", recipe="best").known] == [1e-3, 1e-3]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ("[recipe.paper.common]", "[recipe.paper] is of no recipe that has sections, only best"),
        ("[recipe.bets.common]", "did you mean best?"),
        ("[recipe]\nbest = 3", "[recipe.best] wants sections"),
        ("[recipe.best]\nalpha1 = 3", "[recipe.best] wants sections, such as [recipe.best.common]"),
        ("[recipe.best.fitnet]", "with [recipe.best], [fitnet] has no section outside the recipe"),
        ("[recipe.best.ord.prune.97]", "with [recipe.best], [ord] has prune"),
        ("[recipe.best.ord]\nknown = [{}]", "with [recipe.best], [ord] known, point 1: misses batch_size"),
        ("[recipe.best.common]\nbatch_size = { low = 9 }", "with [recipe.best], [common] batch_size misses high"),
        ("[recipe.best.defaults]\ngrace = 99", "with [recipe.best], [defaults] grace = 99 is more"),
        ("[recipe.best.ord]\nbeta = { low = 0, high = 1 }", "with [recipe.best], [ord] beta is not a hyperparameter"),
    ],
)
@pytest.mark.parametrize("recipe", ["paper", "best"])
def test_a_mistake_of_a_recipe_is_named_whatever_is_searched(
    tmp_path: Path, recipe: str, sections: str, message: str
) -> None:
    with pytest.raises(UserError) as raised:
        load(write(tmp_path, GOOD + sections), "ord", recipe=recipe)
    assert message in str(raised.value)


def test_recipe_as_a_value(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recipe wants to be sections"):
        load(write(tmp_path, "recipe = 3\n" + GOOD), "ord")


def test_a_pruning_ratio_has_its_own_entries_and_points(tmp_path: Path) -> None:
    space = load(write(tmp_path, GOOD), "ord", prune=97)
    assert (space.parameters[2].low, space.parameters[2].high) == (0.2, 0.4)
    assert [point["alpha1"] for point in space.known] == [0.3]
    assert space.names == ("batch_size", "learning_rate", "alpha1", "pruning_minibatch", "stage_percent")
    assert (space.parameters[3].integer, space.known[0]["pruning_minibatch"]) == (True, 7)
    assert space == load(write(tmp_path, GOOD), "ord", prune=97.0) == load(write(tmp_path, GOOD), "ord", prune="97")
    own, other = load(write(tmp_path, GOOD), "ord"), load(write(tmp_path, GOOD), "ord", prune=50)
    assert other.names == (*own.names, "pruning_minibatch", "stage_percent")
    # 50 minibatches are the default, and the range ends at 25.
    assert other.known == tuple({**point, "pruning_minibatch": 25, "stage_percent": 20.0} for point in own.known)
    assert len({own.digest(), other.digest(), space.digest()}) == 3


def test_a_file_without_ranges_of_pruning_is_for_searches_without(tmp_path: Path) -> None:
    text = GOOD.split("[ord.prune.97]")[0].replace("pruning_minibatch = { low = 5, high = 25, log = true }\n", "")
    assert load(write(tmp_path, text), "ord").known
    with pytest.raises(UserError, match=r"misses pruning_minibatch, .* in \[common\] or \[ord.prune.50\]"):
        load(write(tmp_path, text), "ord", prune=50)


MISTAKES = [
    ("[ord]", "[orb]", "[orb] is neither a loss"),
    ("[ord]", "[ord.prune.50]", "[ord] misses the hyperparameter alpha1"),
    ("[rd_l2]", "[fitnet]", "[fitnet] misses the hyperparameter weight"),
    ("[rd_l2]", "rd_l2 = 3", "[ord.prune.97] rd_l2 is not a hyperparameter"),
    ("alpha1 = { low = 0.1, high = 0.9 }", "", "[ord] misses the hyperparameter alpha1"),
    ("alpha1 = { low = 0.1, high = 0.9 }", "alpha1 = 0.4", "[ord] alpha1 wants { low"),
    ("alpha1 = { low = 0.1, high = 0.9 }", "alpha1 = {low=0.1, high=0.9}\nalpha2 = {low=0, high=1}", "alpha2 is not a"),
    ("low = 0.1, high = 0.9", "low = 0.9, high = 0.1", "low = 0.9 is not below high = 0.1"),
    ("low = 0.1, high = 0.9", "low = 0.5, high = 0.5", "is not below"),
    ("low = 0.1, high = 0.9", "low = -0.1, high = 0.9", "low = -0.1 lies outside 0 to 1"),
    ("low = 0.1, high = 0.9", "low = 0.1, high = inf", "high wants a number"),
    ("low = 0.1, high = 0.9", "low = 0.1, high = nan", "high wants a number"),
    ("low = 0.1, high = 0.9", "low = true, high = 0.9", "low wants a number"),
    ("low = 0.1, high = 0.9", 'low = "0.1", high = 0.9', "low wants a number"),
    ("low = 0.1, high = 0.9", "low = 0.1", "misses high"),
    ("low = 0.1, high = 0.9", "low = 0.1, hihg = 0.9", "has no setting hihg"),
    ("low = 0.1, high = 0.9", "low = 0.0, high = 0.9, log = true", "starts above 0"),
    ("low = 0.1, high = 0.9", "low = 0.1, high = 0.9, log = 1", "log wants true or false"),
    ("low = 0.1, high = 0.9", "low = 0.1, high = 0.9, integer = true", "wants whole numbers"),
    ("low = 0.1, high = 0.9", "low = 0.1, choices = [0.5]", "choices and a range"),
    ("choices = [25, 50]", "choices = []", "at least one value"),
    ("choices = [25, 50]", "choices = 25", "wants a list"),
    ("choices = [25, 50]", "choices = [25, 50, 25]", "given twice"),
    ("choices = [25, 50]", 'choices = [25, "50"]', "is not a number"),
    ("choices = [25, 50]", "choices = [0, 50]", "lies outside"),
    ("choices = [25, 50]", "choices = [25, 50.5]", "whole numbers"),
    ("beta =", "betta =", "[common] betta is a hyperparameter of no loss"),
    ("alpha1 = 0.5 },", "alpha1 = 0.95 },", "[ord] known, point 1: alpha1 = 0.95 is not 0.1 to 0.9"),
    (", alpha1 = 0.5 },", " },", "point 1: misses alpha1"),
    ("alpha1 = 0.5 },", "alpha1 = 0.5, beta = 0.1 },", "point 1: beta is not searched"),
    ("{ batch_size = 50,", "{ batch_size = 51,", "point 1: batch_size = 51 is not one of 25, 50"),
    ("known = [{ batch_size = 50", "known = [3, { batch_size = 50", "wants a list of points"),
    ("[ord.prune.97]", "[ord.prune.100]", "[ord.prune.100] wants a percent"),
    ("pruning_minibatch = {", "# {", "[ord.prune.97] misses the hyperparameter pruning_minibatch"),
    ("{ low = 10, high = 40 }", "{ low = 0, high = 40 }", "[common] stage_percent: low = 0 lies outside 0.1 to 99"),
    ("alpha1 = { low = 0.1", "stage_percent = { low = 10, high = 40 }\nalpha1 = { low = 0.1", "[ord] stage_percent is"),
    ("[ord.prune.97]", "[ord.prune.x]", "[ord.prune.x] wants a percent"),
    ("trials = 8", "trials = 0", "trials wants a whole number of at least 1"),
    ("trials = 8", "trials = 8.5", "trials wants a whole number"),
    ("trials = 8", "trails = 8", "no setting trails"),
    ("trials = 8", 'confirm = "3x"', 'confirm wants "KxS"'),
    ("grace = 3", "grace = 10", "grace = 10 is more than epochs = 9"),
    ("[defaults]", "[defaults", "is not valid TOML"),
    ("[defaults]\ntrials = 8\nepochs = 9\ngrace = 3", "defaults = 3", "defaults wants to be a section"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES, ids=[m[2] for m in MISTAKES])
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UserError) as error:
        load(path, "ord")
    assert message in str(error.value)
    assert str(error.value).startswith(f"search space {path}: ")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load(tmp_path / "none.toml", "ord")
    with pytest.raises(UserError, match="directory"):
        load(tmp_path, "ord")
    (tmp_path / "latin.toml").write_bytes(b"\xe9 = 1")
    with pytest.raises(UserError, match=r"has no section \[stcd\]; it has ord, rd_l2"):
        load(write(tmp_path, GOOD), "stcd")
    with pytest.raises(UserError, match="not UTF-8"):
        load(tmp_path / "latin.toml", "ord")
    with pytest.raises(UserError, match="no search space 'pemsd9', only default, demo"):
        find("pemsd9")


@given(st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_text_is_a_space_or_a_sentence(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.toml"
        path.write_text(GOOD + text, encoding="utf-8", errors="replace")
        with contextlib.suppress(UserError):  # and nothing else
            assert load(path, "ord").names


def test_fixing_takes_a_parameter_out_of_the_search(tmp_path: Path) -> None:
    space = load(write(tmp_path, GOOD), "ord")
    fixed = space.fix({"learning_rate": 1e6, "batch_size": 7})
    assert fixed.names == ("alpha1",)
    whole = space.fix({"batch_size": 7.0}).fixed["batch_size"]
    assert (whole, type(whole)) == (7, int)  # an update draws so many windows
    assert fixed.known == ({"alpha1": 0.5},)  # two points that differed in what is fixed are one now
    assert fixed.full({"alpha1": 0.3}) == {"alpha1": 0.3, "learning_rate": 1e6, "batch_size": 7}
    assert fixed.digest() != space.digest() == load(write(tmp_path, GOOD), "ord").digest()
    with pytest.raises(
        UserError, match="no hyperparameter alpha, only alpha1, batch_size, learning_rate; did you mean alpha1"
    ):
        space.fix({"alpha": 1})
    for wrong in ("x", True, float("nan")):
        with pytest.raises(UserError, match="--set alpha1: wants a number"):
            space.fix({"alpha1": wrong})


@pytest.mark.parametrize("stem", ["pemsd7", "pemsd8", "default", "demo"])
def test_the_spaces_that_come_with_it_cover_every_loss(stem: str) -> None:
    for loss in losses.names():
        space, best = load(find(stem), loss), load(find(stem), loss, recipe="best")
        assert best.names == space.names
        assert best.known
        declared = {h.name for h in losses.hyperparameters(loss)}
        assert set(space.names) == {"batch_size", "learning_rate"} | declared
        assert space.known
        for percent in (97, 75, 50, 25, 60):
            pruned = load(find(stem), loss, percent)
            assert set(pruned.names) == set(space.names) | {"pruning_minibatch", "stage_percent"}
            assert all(
                parameter.holds(point[parameter.name]) for point in pruned.known for parameter in pruned.parameters
            )
            assert pruned.known


def test_the_published_points_come_first() -> None:
    assert load(find("pemsd8"), "stcd").known[0] == {
        "batch_size": 50,
        "learning_rate": 0.001,
        "alpha1": 0.846,
        "alpha2": 0.465,
        "alpha3": 0.504,
    }
    assert load(find("pemsd8"), "skd").known[0] == {"batch_size": 60, "learning_rate": 0.01, "alpha": 0.005}
    assert load(find("pemsd7"), "stcd", 97).known[0]["alpha1"] == 0.746
    assert load(find("pemsd8"), "stcd", "25").known[0]["alpha3"] == 0.868


@pytest.mark.parametrize("name", ["default", "demo", "pemsd7", "pemsd8"])
@pytest.mark.parametrize("loss", ["ord", "tcd", "scd", "stcd"])
def test_with_the_recipe_a_teacher_can_be_followed_nearly_everywhere(name: str, loss: str) -> None:
    """Most errors of a teacher are a hundredth of its largest: a range that ends at 0.05 hides the best students."""
    ranges = {p.name: p for p in load(find(name), loss, recipe="best").parameters}
    assert ranges["alpha1"].log
    assert (ranges["alpha1"].low, ranges["alpha1"].high) == (0.001, 1.0)
    assert {p.name: p for p in load(find(name), loss).parameters}["alpha1"].low == 0.05  # around what the paper has
