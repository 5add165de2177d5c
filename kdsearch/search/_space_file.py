"""Checks of a search-space file, entry by entry, so that each mistake has its own sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn, cast

from kdsearch.errors import UserError, suggestion
from kdsearch.search.space import PARETO, PRUNING, TRAINING, WHOLE, Defaults, Parameter, Range, Space, Value, points
from kdsearch.training.recipe import PAPER, RECIPES, student_rate

__all__ = ["allowed_values", "read"]

_ENTRY_KEYS = ("low", "high", "log", "integer", "choices")
_RESERVED = ("known", "prune")
_TOP = ("common", "defaults", "recipe")
Fail = Callable[[str], NoReturn]


def read(
    content: Mapping[str, Any],
    path: Path,
    loss: str,
    prune: str | None,
    declared: Mapping[str, tuple[float, float]] | None,
    start: str | None = None,
    recipe: str = PAPER,
) -> Space:
    """The space of ``loss`` from a parsed file; see :func:`kdsearch.search.space.load`."""

    def fail(message: str) -> NoReturn:
        raise UserError(f"search space {path}: {message}")

    def fail_with(recipe: str) -> Fail:
        return lambda message: fail(f"with [recipe.{recipe}], {message}")

    content, recipes = _recipes(content, fail)
    found = _read(content, path, loss, prune, declared, start, fail)
    wanted = recipe if prune is None and start is None else PAPER
    for name in sorted({wanted, *recipes} - {PAPER}):
        changed = _with_recipe(content, recipes.get(name, {}), fail_with(name))
        own = _read(changed, path, loss, None, declared, None, fail_with(name))
        if name == wanted:
            known = own.known or points([own.nearest({**p, "learning_rate": student_rate(name)}) for p in found.known])
            found = replace(own, known=known)
    return found


def _read(
    content: Mapping[str, Any],
    path: Path,
    loss: str,
    prune: str | None,
    declared: Mapping[str, tuple[float, float]] | None,
    start: str | None,
    fail: Fail,
) -> Space:
    content, losses = _with_imported(content, loss, fail), _known_losses()
    if ":" in loss:
        losses.append(loss)
    for name, section in content.items():
        if name not in (*_TOP, *losses):
            fail(f"[{name}] is neither a loss nor one of {', '.join(_TOP)}{suggestion(name, [*_TOP, *losses])}")
        if not isinstance(section, dict):
            fail(f"{name} wants to be a section, [{name}]")
    if loss not in content:
        fail(f"has no section [{loss}]; it has {', '.join(n for n in content if n not in _TOP) or 'none'}")

    spaces = {
        (name, stage): space
        for name in content
        if name not in _TOP
        for stage, space in _spaces(content, name, declared if name == loss else None, path, fail)
    }
    if start is not None:
        return _pareto(spaces, loss, start, content.get("common", {}), fail)
    return spaces.get((loss, prune)) or _pruned(spaces[loss, None], cast(str, prune), content.get("common", {}), fail)


def _recipes(content: Mapping[str, Any], fail: Fail) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
    """What a file says for every recipe, and what it says for one alone."""
    recipes = content.get("recipe", {})
    if not isinstance(recipes, dict):
        fail("recipe wants to be sections, such as [recipe.best.common]")
    own = [name for name in RECIPES if name != PAPER]
    for name, sections in recipes.items():
        if name not in own:
            fail(f"[recipe.{name}] is of no recipe that has sections, only {', '.join(own)}{suggestion(name, own)}")
        if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
            fail(f"[recipe.{name}] wants sections, such as [recipe.{name}.common]")
    return {name: section for name, section in content.items() if name != "recipe"}, recipes


def _with_recipe(content: Mapping[str, Any], sections: Mapping[str, Any], fail: Fail) -> Mapping[str, Any]:
    """The file with a recipe's entries for others; known points are the recipe's own, of pruning there are none."""
    there = [*content, *(name for name in ("common", "defaults") if name not in content)]
    for name, section in sections.items():
        if name not in there:
            fail(f"[{name}] has no section outside the recipe, only {', '.join(there)}{suggestion(name, there)}")
        if "prune" in section:
            fail(f"[{name}] has prune: a pruned network is searched as the sections outside the recipe say")
    return {
        name: {k: v for k, v in content.get(name, {}).items() if k not in _RESERVED} | sections.get(name, {})
        for name in there
    }


def _pruned(space: Space, prune: str, common: Mapping[str, Any], fail: Fail) -> Space:
    """The space of a percent that has no section: the loss's own, with the ranges of pruning under [common].

    The known points are the loss's own, with the defaults of pruning as near as their ranges hold them.
    """
    from kdsearch.pruning.settings import PruneSettings

    where = f"[{space.loss}.prune.{prune}]"
    added = _added(
        PRUNING, common, f"which pruning searches: give it a range, or choices, in [common] or {where}", fail
    )
    usual = replace(space, parameters=added).nearest({name: getattr(PruneSettings, name) for name in PRUNING})
    known = points([{**point, **usual} for point in space.known])
    return replace(space, parameters=(*space.parameters, *added), known=known, prune=prune)


def _pareto(
    spaces: Mapping[tuple[str, str | None], Space], loss: str, start: str, common: Mapping[str, Any], fail: Fail
) -> Space:
    """The space whose pruned percent is searched too."""
    from kdsearch.pruning.objective import start_network

    fallback = 97.0 if start == "teacher" else 50.0
    space = _pruned(spaces[loss, None], f"{fallback:g}", common, fail)
    (percent,) = _added(PARETO, common, "which --objective pareto searches: give it a range in [common]", fail)
    known = [
        {**point, percent.name: _typed(percent, float(stage))}
        for (name, stage), other in spaces.items()
        if name == loss and stage is not None and start_network(float(stage)) == start
        for point in other.known
        if percent.holds(float(stage)) and set(point) == set(space.names)
    ]
    if not known:
        usual = replace(space, parameters=(percent,)).nearest({percent.name: fallback})
        known = [{**point, **usual} for point in space.known]
    return replace(space, parameters=(*space.parameters, percent), known=points(known), prune="pareto")


def _added(wanted: Mapping[str, Range], common: Mapping[str, Any], why: str, fail: Fail) -> tuple[Parameter, ...]:
    """Parameters that a search adds to those of its loss, from [common]."""
    for name in wanted:
        if name not in common:
            fail(f"misses {name}, {why}")
    return tuple(_parameter(n, f"[common] {n}", common[n], allowed, fail) for n, allowed in wanted.items())


def _spaces(
    content: Mapping[str, Any],
    loss: str,
    declared: Mapping[str, tuple[float, float]] | None,
    path: Path,
    fail: Fail,
) -> Iterator[tuple[str | None, Space]]:
    """The space of a loss, under None, and of each of its pruning ratios."""
    unpruned = {
        **TRAINING,
        **{k: Range(*v) for k, v in (declared if declared is not None else _declared(loss)).items()},
    }
    common, own = content.get("common", {}), content[loss]
    known_anywhere = {
        *TRAINING,
        *PRUNING,
        *PARETO,
        *(h for name in _known_losses() for h in _declared(name)),
        *unpruned,
    }
    for name in common:
        if name in _RESERVED or name not in known_anywhere:
            fail(f"[common] {name} is a hyperparameter of no loss{suggestion(name, sorted(known_anywhere))}")
    shared = {n: (f"[common] {n}", v) for n, v in common.items() if n in unpruned or n in PRUNING}
    shared |= _section(own, f"[{loss}]", loss, unpruned, fail)
    stages = own.get("prune", {})
    if not isinstance(stages, dict):
        fail(f"[{loss}] prune wants sections, such as [{loss}.prune.97]")
    defaults = _defaults(content.get("defaults", {}), fail)
    for stage, section in {None: own, **stages}.items():
        where, entries, allowed = f"[{loss}]", shared, unpruned
        if stage is not None:
            where, allowed = f"[{loss}.prune.{stage}]", {**unpruned, **PRUNING}
            if not re.fullmatch(r"[1-9]\d?(\.\d*[1-9])?", stage) or not isinstance(section, dict):
                fail(f"{where} wants a percent between 1 and 99 and a section")
            entries = shared | _section(section, where, loss, allowed, fail)
        missing = [name for name in allowed if name not in entries]
        if missing:
            fail(f"{where} misses the hyperparameter {missing[0]}; give it a range, or choices, there or in [common]")
        parameters = tuple(_parameter(name, *entries[name], allowed[name], fail) for name in allowed)
        known = _known(section.get("known", []), f"{where} known", parameters, fail)
        yield stage, Space(loss, parameters, known, {}, defaults, str(path), stage)


def _section(
    section: Mapping[str, Any], where: str, loss: str, allowed: Mapping[str, Range], fail: Fail
) -> dict[str, tuple[str, Any]]:
    for name in section:
        if name not in allowed and name not in _RESERVED:
            fail(
                f"{where} {name} is not a hyperparameter of {loss}, which has {', '.join(sorted(allowed))}"
                f"{suggestion(name, allowed)}"
            )
    return {name: (f"{where} {name}", value) for name, value in section.items() if name not in _RESERVED}


def _parameter(name: str, where: str, entry: Any, allowed: Range, fail: Fail) -> Parameter:
    """One entry, ``{ low, high, log, integer }`` or ``{ choices }``."""
    if not isinstance(entry, dict):
        fail(f"{where} wants {{ low = ..., high = ... }} or {{ choices = [...] }}, not {entry!r}")
    for key in entry:
        if key not in _ENTRY_KEYS:
            fail(f"{where} has no setting {key}, only {', '.join(_ENTRY_KEYS)}{suggestion(key, _ENTRY_KEYS)}")
    bounds = f"{allowed.low:g} to {allowed.high:g}"
    if "choices" in entry:
        choices = entry["choices"]
        if len(entry) > 1:
            fail(f"{where} has choices and a range; give one of the two")
        if not isinstance(choices, list) or not choices:
            fail(f"{where}: choices wants a list of at least one value")
        for choice in choices:
            if not _is_number(choice):
                fail(f"{where}: the choice {choice!r} is not a number")
            if not allowed.low <= choice <= allowed.high:
                fail(f"{where}: the choice {choice:g} lies outside {bounds}")
        if len(set(choices)) < len(choices):
            fail(f"{where}: a choice is given twice")
        if name in WHOLE and not all(isinstance(c, int) for c in choices):
            fail(f"{where}: wants whole numbers")
        return Parameter(name, choices=tuple(choices))

    for key in ("low", "high"):
        if key not in entry:
            fail(f"{where} misses {key}")
        if not _is_number(entry[key]):
            fail(f"{where}: {key} wants a number, not {entry[key]!r}")
        if not allowed.low <= entry[key] <= allowed.high:
            fail(f"{where}: {key} = {entry[key]:g} lies outside {bounds}")
    low, high = entry["low"], entry["high"]
    log, integer = entry.get("log", False), entry.get("integer", name in WHOLE)
    for key, flag in (("log", log), ("integer", integer)):
        if not isinstance(flag, bool):
            fail(f"{where}: {key} wants true or false, not {flag!r}")
    if not low < high:
        fail(f"{where}: low = {low:g} is not below high = {high:g}")
    if log and low <= 0:
        fail(f"{where}: a logarithmic range starts above 0, not at {low:g}")
    if integer and not (float(low).is_integer() and float(high).is_integer()):
        fail(f"{where}: an integer range wants whole numbers")
    return Parameter(name, float(low), float(high), log=log, integer=integer)


def _known(known: Any, where: str, parameters: tuple[Parameter, ...], fail: Fail) -> tuple[Mapping[str, Value], ...]:
    """The points tried first: complete, and inside the ranges."""
    if not isinstance(known, list) or not all(isinstance(point, dict) for point in known):
        fail(f"{where} wants a list of points, such as known = [{{ batch_size = 50, ... }}]")
    for number, point in enumerate(cast(list[dict[str, Any]], known), start=1):
        for name in point:
            if name not in {p.name for p in parameters}:
                fail(f"{where}, point {number}: {name} is not searched here")
        for parameter in parameters:
            if parameter.name not in point:
                fail(f"{where}, point {number}: misses {parameter.name}")
            value = point[parameter.name]
            if not _is_number(value) or not parameter.holds(value):
                fail(f"{where}, point {number}: {parameter.name} = {value!r} is not {parameter.describe()}")
    return points([{p.name: _typed(p, point[p.name]) for p in parameters} for point in known])


def _typed(parameter: Parameter, value: Any) -> Value:
    """The value as a sampler would give it: the choice itself, an int, or a float."""
    if parameter.choices:
        return next(choice for choice in parameter.choices if choice == value)
    return int(value) if parameter.integer else float(value)


def _defaults(section: Mapping[str, Any], fail: Fail) -> Defaults:
    names = [f.name for f in fields(Defaults)]
    for name, value in section.items():
        if name not in names:
            fail(f"[defaults] has no setting {name}, only {', '.join(names)}{suggestion(name, names)}")
        if name == "confirm":
            if not isinstance(value, str) or not re.fullmatch(r"[1-9]\d*x[1-9]\d*", value):
                fail(f'[defaults] confirm wants "KxS", such as "3x3", not {value!r}')
        elif isinstance(value, bool) or not isinstance(value, int) or value < (2 if name == "reduction" else 1):
            fail(f"[defaults] {name} wants a whole number of at least {2 if name == 'reduction' else 1}, not {value!r}")
    defaults = Defaults(**section)
    if defaults.grace > defaults.epochs:
        fail(f"[defaults] grace = {defaults.grace} is more than epochs = {defaults.epochs}")
    return defaults


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def allowed_values(loss: str) -> dict[str, Range]:
    """What each hyperparameter of a loss, of training and of pruning may be at all."""
    return {**TRAINING, **PRUNING, **PARETO, **{k: Range(*v) for k, v in _declared(loss).items()}}


def _with_imported(content: Mapping[str, Any], loss: str, fail: Fail) -> Mapping[str, Any]:
    """A section for a loss of a user's module: that of the loss's own name, else the ranges that it declares."""
    if ":" not in loss:
        return content
    from kdsearch.distillation import losses

    kind = losses.get(loss)
    own = content.get(kind.name)
    if own is None:
        own = {h.name: {"low": h.low, "high": h.high, "log": h.log} for h in kind.HYPERPARAMETERS}
        common = content.get("common", {})
        if set(TRAINING) <= set(common):
            point: dict[str, Any] = {h.name: h.default for h in kind.HYPERPARAMETERS}
            for name, usual in (("batch_size", 50.0), ("learning_rate", 1e-3)):
                parameter = _parameter(name, f"[common] {name}", common[name], TRAINING[name], fail)
                point[name] = parameter.nearest(usual)
            own["known"] = [point]
    return {**{name: section for name, section in content.items() if name != kind.name}, loss: own}


def _known_losses() -> list[str]:
    from kdsearch.distillation import losses

    return list(losses.names())


def _declared(loss: str) -> Mapping[str, tuple[float, float]]:
    """Hyperparameters of a loss and the range each may have, as its registry declares them."""
    from kdsearch.distillation import losses

    return {h.name: (h.low, h.high) for h in losses.hyperparameters(loss)}
