"""The rooms of the package: what imports what, what a folder gives others, no circles, and sizes that read well.

A folder gives others the names that its `__init__` lists; the rest is the folder's own. A file imports from its own folder
and from what stands before it in `ORDER`, imports inside functions and for type checkers included.
"""

import ast
import functools
from pathlib import Path
from typing import NamedTuple

import pytest

import nqmjax

ORDER = [
    ["_tools"],
    ["problem", "bounds"],
    ["optimizers"],
    ["dynamics"],
    ["target"],
    ["nonlinear", "measure"],
    ["sweeps"],
    ["schedules"],
    ["scaling"],
    ["runs"],
    ["training"],
    ["figures"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
LOADED_BY_PATH = {"nqmjax.cli.app": "nqmjax.cli.commands"}
"""Who may load the files of a folder by their path: the application its commands, each when it is called."""

EXCEPTIONS: set[str] = set()
"""Modules and functions ("module:function") that are known to be too long."""

ROOT = Path(nqmjax.__file__).parent
PATHS = sorted(ROOT.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in PATHS}
FOLDERS = {name for name, path in FILES.items() if path.name == "__init__.py"}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


class Import(NamedTuple):
    """One imported name; None for a module as such."""

    module: str
    name: str | None
    line: int


@functools.cache
def imports(module):
    """What a module imports from nqmjax, anywhere in it."""
    found = []
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: write the whole name of the package"
            found += [Import(node.module, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [Import(alias.name, None, node.lineno) for alias in node.names]
    return [each for each in found if each.module.split(".")[0] == "nqmjax"]


@functools.cache
def given(folder):
    """The names that a folder's `__init__` gives, with the module below it that each comes from."""
    calls = [node.value for node in TREES[folder].body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    names = {}
    for call in calls:
        for keyword in call.keywords:
            if keyword.arg in ("public", "internal"):
                for file, found in ast.literal_eval(keyword.value).items():
                    names |= dict.fromkeys(found, f"{folder}.{file}")
    eager = [each for each in imports(folder) if each.module.startswith(f"{folder}.") and each.name]
    return {each.name: each.module for each in eager if each.name not in names} | names


def folder_of(module):
    return module if module in FOLDERS else module.rpartition(".")[0]


def inside(module, folder):
    return module == folder or module.startswith(f"{folder}.")


def room(module):
    return module.split(".")[1]


def fault(module, found):
    """What is wrong with an import, or None."""
    if found.module == "nqmjax":
        if found.name == "__version__":
            return None
        if found.name not in LEVEL:
            return "take the name from the folder that gives it"
        return "it stands above" if LEVEL[found.name] >= LEVEL[room(module)] else None
    if LEVEL[room(found.module)] > LEVEL[room(module)]:
        return "it stands above"
    if inside(folder_of(module), folder_of(found.module)):
        return None  # a file of its own folder, or of the one around it
    if found.module not in FOLDERS:
        return "the file is its folder's own: take the name from the folder"
    by_path = f"{found.module}.{found.name}" in FILES and LOADED_BY_PATH.get(module) == found.module
    return None if by_path or found.name in given(found.module) else f"{found.module} does not give it"


def source(found):
    """The module that defines an imported name."""
    if found.module in FOLDERS:
        if found.name in given(found.module):
            return source(Import(given(found.module)[found.name], found.name, found.line))
        if f"{found.module}.{found.name}" in FILES:
            return f"{found.module}.{found.name}"
    return found.module


def circles(graph):
    """The strongly connected parts with more than one member (Tarjan 1972)."""
    number, low, stack, parts = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for after in graph[node]:
            if after not in number:
                visit(after)
                low[node] = min(low[node], low[after])
            elif after in stack:
                low[node] = min(low[node], number[after])
        if low[node] == number[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            parts.append(sorted(part))

    for node in graph:
        if node not in number:
            visit(node)
    return [part for part in parts if len(part) > 1]


def test_every_file_has_its_place():
    entries = {room(module) for module in FILES if module != "nqmjax"}
    assert entries <= LEVEL.keys()
    assert len(entries) + 1 <= 17


def test_imports_go_down():
    modules = [module for module in FILES if module not in FOLDERS]
    faults = [(module, found, fault(module, found)) for module in modules for found in imports(module)]
    assert [f"{module}, line {found.line}: {found.module}:{found.name}: {why}" for module, found, why in faults if why] == []


def test_nothing_imports_in_a_circle():
    modules = [module for module in FILES if module not in FOLDERS]
    graph = {module: {source(found) for found in imports(module)} - {module} for module in modules}
    assert circles({module: sorted(after & graph.keys()) for module, after in graph.items()}) == []


def test_circles_are_found():
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a", "d"]}) == [["b", "c"]]


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_folder_gives_to_type_checkers_what_it_gives(folder):
    seen = {name: module for module, name, _ in imports(folder) if inside(module, folder)}
    if folder == "nqmjax":
        for name in nqmjax.__all__:
            assert seen[name] == f"nqmjax.{room(getattr(nqmjax, name).__module__)}"
    else:
        assert seen == given(folder)


def too_long(module):
    """Functions of more than 50 lines, the docstring not counted."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            doc = first.end_lineno - first.lineno + 1 if ast.get_docstring(node, clean=False) is not None else 0
            lines = node.end_lineno - node.lineno + 1 - doc
            if lines > 50:
                yield f"{module}:{node.name}", lines


def test_modules_and_functions_are_short():
    modules = [(name, len(path.read_text(encoding="utf-8").splitlines())) for name, path in FILES.items()]
    long = {name: lines for name, lines in modules if lines > 300} | dict(part for module in FILES for part in too_long(module))
    assert {name: lines for name, lines in long.items() if name not in EXCEPTIONS} == {}
    assert long.keys() >= EXCEPTIONS, "what is short by now is no exception"
