"""The site: pages in Markdown, and one page of names for each part of the package, made from the docstrings."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import nqmjax

project = "nqmjax"
author = "The nqmjax authors"
version = release = nqmjax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "nqmjax"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests run the code blocks and compare what they print

default_role = "code"  # docstrings mark code as Markdown does
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Source", "See also")]
autodoc_typehints = "none"
autodoc_member_order = "bysource"

HERE = Path(__file__).parent
OPTIONS = {"class": "\n   :members:", "function": "", "data": "\n   :no-value:"}


def kind(value: object) -> str:
    """Which directive documents a value."""
    return "class" if inspect.isclass(value) else "function" if inspect.isroutine(value) else "data"


def page(module: str, names: list[str]) -> str:
    """The page of a module: what its docstring says, a list of the names, and each name."""
    values = {name: getattr(importlib.import_module(module), name) for name in names}
    lines = [
        module,
        "=" * len(module),
        "",
        f".. automodule:: {module}",
        "   :no-members:",
        "",
        f".. currentmodule:: {module}",
        "",
    ]
    lines += [
        f"- :obj:`{name} <{module}.{name}>`: {(inspect.getdoc(value) or '').split(chr(10))[0]}"
        for name, value in values.items()
    ]
    lines += [""]
    for name, value in values.items():
        what = kind(value)
        lines += [f".. auto{what}:: {name}{OPTIONS[what]}", ""]
    return "\n".join(lines)


def write_pages(_: object) -> None:
    """Write the pages of names below `api/`: the top of the package, and each folder that gives more than the top."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    pages = {"nqmjax": list(nqmjax.__all__)}
    for found in pkgutil.walk_packages(nqmjax.__path__, "nqmjax."):
        if found.ispkg and not found.name.startswith(("nqmjax._", "nqmjax.cli")):
            above = {name for module, names in pages.items() if found.name.startswith(module) for name in names}
            given = getattr(importlib.import_module(found.name), "__all__", [])
            pages[found.name] = [name for name in given if name not in above]
    texts = {f"{module}.rst": page(module, names) for module, names in pages.items() if names}
    for path in folder.glob("*.rst"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:  # what has not changed is not built again
            path.write_text(text)


def mark_formulas(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Indented lines after a paragraph of a docstring are formulas or tables: shown as they stand."""
    for i in range(len(lines) - 1, 1, -1):
        paragraph = next((line for line in reversed(lines[:i]) if line), "")
        if lines[i].startswith("    ") and not lines[i - 1] and not paragraph.startswith((" ", ">>>")):
            lines[i:i] = ["::", ""]


def setup(app: object) -> None:
    """Register what Sphinx calls."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", mark_formulas, priority=400)
