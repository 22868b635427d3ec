"""The house is built as docs/design.md says."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Collection
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import foreseen
from foreseen.methods import METHODS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "foreseen"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DESIGN = (ROOT / "docs" / "design.md").read_text()
ROOMS = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file())


def test_the_version_is_stated_once_and_the_same() -> None:
    assert PYPROJECT["project"]["version"] == foreseen.__version__


def test_the_public_names() -> None:
    assert foreseen.__all__ == [
        "TrainConfig",
        "__version__",
        "evaluate_run",
        "load_dataset",
        "load_run",
        "run_training",
        "train",
    ]
    for name in foreseen.__all__:
        assert getattr(foreseen, name)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_export_what_they_list(room: str) -> None:
    module = import_module(f"foreseen.{room}")
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), name


def layers() -> list[set[str]]:
    """The rooms of the import contract, roof first, without those that are only planned."""
    (contract,) = (c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    found = []
    for line in contract["layers"]:
        words = [word.strip() for word in re.split(r"[|:]", line)]
        found.append({word.removeprefix("foreseen.") for word in words if not word.startswith("(")})
    return found


def test_every_room_is_in_the_contract_and_in_the_plan() -> None:
    assert set().union(*layers()) == {*ROOMS, "errors", "plugins"}
    for room in ROOMS:
        assert re.search(rf"^      {room}/ ", DESIGN, re.MULTILINE), room


def test_plan_and_contract_agree() -> None:
    sentence = re.search(r"Imports run downhill[^:]*:(.*?)\. ", " ".join(DESIGN.split()))
    assert sentence is not None
    planned = [set(part.replace("`", " ").split()) for part in sentence.group(1).split("<")]
    assert planned == list(reversed(layers()))


def test_imports_run_downhill() -> None:
    linter = pytest.importorskip("importlinter.cli", reason="import-linter comes with the extra [dev]")
    assert linter.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_same_files(method: str) -> None:
    module = METHODS[method].target.partition(":")[0]
    folder = PACKAGE.parent.joinpath(*module.split(".")).parent
    assert folder.parent == PACKAGE / "methods" and module.endswith(".model")
    for name in ("__init__.py", "config.py", "model.py", "README.md"):
        assert (folder / name).is_file(), name
    assert METHODS[method].load_presets()


def test_nothing_heavy_is_imported_at_the_start() -> None:
    code = (
        "import sys, foreseen, foreseen.cli, foreseen.methods\n"
        "print([m for m in ('torch', 'numba', 'scipy', 'matplotlib', 'mujoco') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


def test_files_stay_readable() -> None:
    lines = {p.name: len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert max(lines.values()) <= 400, max(lines, key=lines.__getitem__)


def test_nothing_is_left_undone() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|breakpoint\(\)|pdb)\b")
    found = [p.name for p in PACKAGE.rglob("*.py") if words.search(p.read_text())]
    assert not found


@cache
def parsed() -> dict[str, ast.Module]:
    """The syntax tree of every module of the package, by its dotted name."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        trees[name] = ast.parse(path.read_text(), str(path))
    return trees


def imported(tree: ast.Module, modules: Collection[str]) -> set[str]:
    """Modules of the package that a module imports anywhere: at the top, in functions, and for type checking."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                names.add(submodule if submodule in modules else node.module)
    return names & set(modules)


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of two modules or more."""
    reach = {start: set(nexts) for start, nexts in graph.items()}
    for middle in graph:  # Warshall's transitive closure
        for reached in reach.values():
            if middle in reached:
                reached |= reach[middle]
    groups = {frozenset(m for m in reach[start] if start in reach[m]) for start in graph if start in reach[start]}
    return sorted(sorted(group) for group in groups)


def test_no_modules_import_one_another() -> None:
    trees = parsed()
    graph = {name: imported(tree, trees) - {name} for name, tree in trees.items()}
    assert not cycles(graph), "these modules import one another; pass a callable or a small protocol instead"


def test_the_test_of_cycles_finds_them() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d"}}
    assert cycles(graph) == [["a", "b", "c"]]
    tree = ast.parse("if TYPE_CHECKING:\n    from x import a\ndef f():\n    import x.b")
    assert imported(tree, ["x", "x.a", "x.b"]) == {"x.a", "x.b"}


def class_names() -> dict[str, list[str]]:
    """Modules that define each class, by its name."""
    modules = defaultdict(list)
    for module, tree in parsed().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(module)
    return modules


def test_class_names_are_unique() -> None:
    twice = {name: modules for name, modules in class_names().items() if len(modules) > 1}
    assert not twice


def subclasses(root: str) -> set[str]:
    """Names of the classes of the package that derive from `root`, and `root` itself."""
    bases = {}
    for tree in parsed().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                named = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
                bases[node.name] = {ast.unparse(base).rpartition(".")[2] for base in named}
    found = {root}
    while more := {name for name, own in bases.items() if own & found} - found:
        found |= more
    return found


def asked_types(tree: ast.Module) -> set[str]:
    """Names of the classes that a module compares an object's type with."""
    asked: set[str] = set()
    for node in ast.walk(tree):
        operands: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            operands = node.args[1:]
        elif isinstance(node, ast.Compare) and any(
            isinstance(side, ast.Call) and ast.unparse(side.func) == "type" for side in (node.left, *node.comparators)
        ):
            operands = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchClass):
            operands = [node.cls]
        for operand in operands:
            for part in ast.walk(operand):
                if isinstance(part, ast.Name | ast.Attribute):
                    asked.add(ast.unparse(part).rpartition(".")[2])
    return asked


REGISTRIES = ("foreseen.render.registry", "foreseen.core.capabilities")


def test_nobody_asks_for_the_type_of_a_scene_or_a_method() -> None:
    """What depends on it is asked of the scene's renderer, or of the method's capabilities."""
    from foreseen.core import capabilities
    from foreseen.render.registry import scene_types

    scenes = {kind.__name__ for kind in scene_types()} | {"MovingGaussians"}
    protocols = {name for name, value in vars(capabilities).items() if getattr(value, "_is_protocol", False)}
    forbidden = scenes | protocols | subclasses("Method")
    assert {"RadianceField", "Gaussians", "HasLayers", "Method", "ConditionedNeRF"} <= forbidden
    asked = {name: asked_types(tree) & forbidden for name, tree in parsed().items() if name not in REGISTRIES}
    assert not {name: types for name, types in asked.items() if types}


def test_the_test_of_types_finds_them() -> None:
    tree = ast.parse(
        "isinstance(x, Gaussians | scenes.VoxelScene)\nissubclass(x, (A, B))\ntype(x) is C\n"
        "match x:\n    case D():\n        pass"
    )
    assert asked_types(tree) >= {"Gaussians", "VoxelScene", "A", "B", "C", "D"}


def test_methods_holds_methods_only() -> None:
    folders = {p.name for p in (PACKAGE / "methods").iterdir() if p.is_dir() and p.name != "__pycache__"}
    registered = {entry.target.split(".")[2] for entry in METHODS.values() if entry.target.startswith("foreseen.")}
    assert folders == registered
    lines = {str(p): len(p.read_text().splitlines()) for p in (PACKAGE / "methods").rglob("*.py")}
    assert max(lines.values()) <= 350, max(lines, key=lines.__getitem__)


def test_a_method_has_at_most_ten_members() -> None:
    from foreseen.core.method import Method

    assert len([name for name in vars(Method) if not name.startswith("_")]) <= 10


CONSTANTS = {
    "WIDTH": "layout of the state of a ball in the kernel",
    "INERTIA": "of a solid sphere, in m r^2",
    "CONTACT_FACTOR": "follows from INERTIA",
    "CONTACT_TOLERANCE": "rounding of float64",
    "LATENT_PLANES": "indices of axes",
    "FINITE_DIFFERENCE": "step of a central difference in float64",
    "MIN_COMPONENT": "rounding of float32",
    "NUM_DISPLACEMENTS": "layout: the first numbers of a change are a displacement",
    "STATIC": "index of a box",
    "C0": "first spherical harmonic",
    "MIN_OPACITY": "rounding: the logit of 0 is not finite",
    "TIME": "index of an axis",
    "AXES": "indices of axes",
    "CHANGES": "layout: sizes of the heads",
    "DEFORMING, STATIC": "two labels",
}
"""Numbers at module level that are no settings, and why."""


def settings_outside_of_configs(tree: ast.Module) -> list[str]:
    """Names at module level whose values hold a number, but for presets: those are made of configs."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            parts = list(ast.walk(node.value))
            calls = [ast.unparse(part.func) for part in parts if isinstance(part, ast.Call)]
            if calls and all(call.endswith("Config") for call in calls):
                continue
            if any(isinstance(part, ast.Constant) and type(part.value) in (int, float) for part in parts):
                found.append(ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target).strip("()"))
    return found


@pytest.mark.parametrize("room", ["dynamics", "reconstruction", "fields", "splatting", "methods"])
def test_what_decides_is_a_field_of_a_config(room: str) -> None:
    trees = {name: tree for name, tree in parsed().items() if name.startswith(f"foreseen.{room}.")}
    found = [(name, target) for name, tree in trees.items() for target in settings_outside_of_configs(tree)]
    assert [one for one in found if one[1] not in CONSTANTS] == [], "make it a field of a config, with a docstring"


def test_the_test_of_constants_finds_them() -> None:
    code = "A = 3\nB: float = f(0.5)\nC = (D, -1)\nPRESETS = {'fast': SomeConfig(3)}\nE = 'text'\nF, G = 0, 1"
    assert settings_outside_of_configs(ast.parse(code)) == ["A", "B", "C", "F, G"]
