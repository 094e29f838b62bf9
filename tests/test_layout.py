"""Imports follow the data: no module imports one that stands after it here."""

import ast
from pathlib import Path

import pytest

import nqmjax

ORDER = [
    ["checks", "precision", "problem", "power_law_sums", "least_squares", "limits", "parallel"],
    ["optimizers"],
    ["frontdoor", "dynamics", "files", "plan_exports", "schedule_phases"],
    ["passage"],
    ["target", "plans", "schedule_families", "schedules", "montecarlo"],
    ["lanes", "bounds", "batch_size", "learning_rate_caps", "closed_forms"],
    ["sweeping", "schedule_problem", "schedule_search"],
    ["plan_files", "settings", "runs", "run_files", "batched_search", "comparison", "tuning"],
    ["budgets", "wall_clock", "laws"],
    ["transfers", "study"],
    ["fitting", "extrapolation"],
    ["prediction"],
    ["evaluation"],
    ["uncertainty"],
    ["selection", "model_files", "run_planning", "critical_batches"],
    ["scaling"],
    ["figures"],
    ["cli"],
]
LAYER = {name: layer for layer, names in enumerate(ORDER) for name in names}
ROOT = Path(nqmjax.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part(path):
    """The module or package directly below nqmjax."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_data(path):
    layer = LAYER[part(path)]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" if node.module == "nqmjax" else node.module for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == "nqmjax" and rest and rest[0] in LAYER:
                assert LAYER[rest[0]] <= layer, f"{path.name} imports {name}"
