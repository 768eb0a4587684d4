"""Imports go down only, in no circle, and private names of Lightning and jsonargparse stay behind their seams."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# lowest floor first; a package imports itself and those of the floors below its own
FLOORS = [
    ("common",),
    ("records", "measures"),
    ("datamodules",),
    ("figures", "ensembling"),
    ("lightning_modules",),
    ("callbacks", "engine"),
    ("pipelines.cli",),
    ("pipelines.cells",),
    # commands, which never import each other
    (
        "pipelines.distill",
        "pipelines.stack",
        "pipelines.sweep",
        "pipelines.tune",
        "pipelines.report",
        "pipelines.export",
        "pipelines.inspect",
        "pipelines.predict",
        "pipelines.shards",
        "pipelines.submit",
        "pipelines.status",
    ),
    ("pipelines.main",),
    ("pipelines.python",),
    ("train", "francesinha"),
]
FLOOR = {package: number for number, packages in enumerate(FLOORS) for package in packages}
# workers of a cluster import these, which must be quick
EMPTY = ("pipelines/__init__.py", "pipelines/cells/__init__.py", "records/__init__.py")


def module_of(path):
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module_of(path): path
    for package in sorted({name.partition(".")[0] for name in FLOOR})
    for path in sorted([*(REPOSITORY / package).rglob("*.py"), *REPOSITORY.glob(f"{package}.py")])
}


def package_of(module):
    """The package of a module that has a floor."""
    while module and module not in FLOOR:
        module = module.rpartition(".")[0]
    return module


def imports(path):
    """Every module of the project that a file imports, also for type checking alone, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else node.module for name in inner]
        else:
            continue
        yield from ((name, node.lineno) for name in dict.fromkeys(names) if name in FILES)


def test_imports__go_down_only():
    wrong = []
    for module, path in FILES.items():
        own = package_of(module)
        for other, line in imports(path):
            theirs = package_of(other)
            if own and theirs and own != theirs and FLOOR[theirs] >= FLOOR[own]:
                wrong.append(f"{path.relative_to(REPOSITORY)}:{line} imports {other}")
    assert wrong == []


def test_imports__are_in_no_circle():
    below = {module: {other for other, _ in imports(path)} - {module} for module, path in FILES.items()}
    # a package's __init__ only lists its public names: whoever imports one of them depends on its file
    packages = {module for module, path in FILES.items() if path.name == "__init__.py"}
    left = {module: others - packages for module, others in below.items() if module not in packages}
    while free := [module for module, others in left.items() if not others]:
        left = {module: others.difference(free) for module, others in left.items() if module not in free}
    assert left == {}, f"a circle goes through {sorted(left)}"


# torch has no public names for these
OF_TORCH = ("_BatchNorm", "_NormBase", "_call_impl", "_compiled_call_impl", "_foreach_copy_", "_foreach_lerp_")

# part of Python's documentation
DOCUMENTED = ("_exit",)


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def own_names():
    """Every private name that the project defines: a function, a class, a variable or an attribute of `self`."""
    names = {*OF_TORCH, *DOCUMENTED}
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "register_buffer":
                names.add(node.args[0].value)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names |= {node.attr} if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") else set()
    return names


def test_imports__private_names_of_others_stay_behind_their_seams():
    """Those of Lightning and jsonargparse change without notice."""
    own, foreign, found = own_names(), ("lightning", "jsonargparse"), []
    for path in FILES.values():
        place = str(path.relative_to(REPOSITORY))
        if place.endswith("_seam.py") or place.startswith("engine/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in foreign:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.split(".")[0] in foreign]
            elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
                names = [node.attr]
            else:
                continue
            found += [f"{place}:{node.lineno} {name}" for name in names if any(map(is_private, name.split(".")))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", EMPTY)
def test_imports__packages_of_workers_stay_empty(name):
    tree = ast.parse((REPOSITORY / name).read_text())
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)
