"""The direction of imports, what import must not pull in, and the public names."""

import ast
import importlib
import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tfrecon
from tfrecon.__main__ import VERBS

REPOSITORY = Path(__file__).parents[1]

LEVELS = (
    ("base",),
    ("layers", "diffusion"),
    ("data", "backbones"),
    ("metrics", "networks"),
    ("losses",),
    ("models",),
    ("training",),
    ("inference",),
    ("reports",),
    ("studies",),
    (
        "fit",
        "evaluate",
        "export",
        "push",
        "reconstruct",
        "study",
        "submit",
        "features",
        "invert",
        "audit",
        "demo",
        "doctor",
    ),
    ("__main__", "__init__"),
)
"""Modules and packages of tfrecon, lowest first: each imports from rows above its own only, or, in
a package, from that package. A new one fails the tests below until it has its place here."""

FACTS = ("data_pipelines", "kaggle_submission")

HEAVY = ("tensorflow", "keras", "matplotlib", "polars", "skimage")


def places():
    return {name: level for level, names in enumerate(LEVELS) for name in names}


def modules(package):
    """Dotted name and path of every module; a package's ``__init__`` is named like the package."""
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name, path):
    """Dotted names that the source of a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative import; write the whole name"
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                # "from package import module" names a module, other imports a thing inside one.
                yield whole if is_module(whole) else base


def is_module(dotted):
    path = REPOSITORY / dotted.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def unit(dotted):
    """The row entry that a module of tfrecon belongs to: its first name below tfrecon."""
    return dotted.split(".")[1] if "." in dotted else "__init__"


def wrong_imports(name, imported):
    """What the rule says about one import; None when it is allowed."""
    top, *below = imported.split(".")
    if top in FACTS or {*below[:1]} & {*FACTS}:
        return f"{name} imports {imported}; base/facts.py finds recipes and competitions by name"
    if top != "tfrecon":
        return None
    level, here, there = places(), unit(name), unit(imported)
    if here == there or level[there] < level[here]:
        return None
    return f"{name} (level {level[here]}) imports {imported} (level {level[there]})"


def test_every_module_has_its_level_and_every_level_its_module():
    units = {unit(name) for name, _ in modules("tfrecon")}
    listed = [name for names in LEVELS for name in names]
    assert units == set(listed), f"place in LEVELS or remove from it: {units ^ set(listed)}"
    assert len(listed) == len(set(listed))


def test_modules_import_from_lower_levels_only():
    wrong = [
        sentence
        for name, path in modules("tfrecon")
        for imported in imports(name, path)
        if (sentence := wrong_imports(name, imported))
    ]
    assert not wrong, "\n".join(wrong)


def rooms_and_arrows():
    """The rooms (files and folders at the top of tfrecon) and the arrows: which imports which."""
    rooms = {unit(name) for name, _ in modules("tfrecon")}
    arrows = {
        (unit(name), unit(imported))
        for name, path in modules("tfrecon")
        for imported in imports(name, path)
        if imported.split(".")[0] == "tfrecon" and unit(imported) != unit(name)
    }
    return rooms, arrows


def test_the_house_is_seen_in_one_look(capsys):
    rooms, arrows = rooms_and_arrows()
    with capsys.disabled():
        print(f"\ntfrecon has {len(rooms)} rooms and {len(arrows)} arrows", flush=True)
    # The 27th is the door of the web page.
    assert len(rooms) <= 27 and len(arrows) <= 100
    files = {path.stem for path in (REPOSITORY / "tfrecon").glob("*.py")}
    assert files == {*VERBS, "__init__", "__main__"}, "the top level holds the doors alone"


def test_the_readmes_picture_is_the_house():
    """Its rows are the rooms from the highest level to the lowest, each on a row of its own."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    drawn = text.split("## How it is built")[1].split("```")[1]
    rows = [row for line in drawn.splitlines() if (row := line.strip().split("/ ")[0]) in places()]
    levels = [places()[row] for row in rows]
    folders = {room for room in places() if (REPOSITORY / "tfrecon" / room).is_dir()}
    assert set(rows) == folders and levels == sorted(levels, reverse=True)


def test_no_two_files_have_one_name():
    paths = [path for _, path in modules("tfrecon") if path.name != "__init__.py"]
    stems = [path.stem for path in paths]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    assert not twice, f"one name for two files: {sorted(twice)}"


def test_the_rule_sees_upward_sideways_and_outward_imports():
    assert wrong_imports("tfrecon.data.pipeline", "tfrecon.models.pix2pix")
    assert wrong_imports("tfrecon.metrics.kid", "tfrecon.losses")
    assert wrong_imports("tfrecon.base.config", "tfrecon")
    assert wrong_imports("tfrecon.fit", "tfrecon.evaluate")
    assert wrong_imports("tfrecon.data.recipes", "data_pipelines.demo")
    assert wrong_imports("tfrecon.data.recipes", "tfrecon.data_pipelines.demo")
    assert not wrong_imports("tfrecon.data.pipeline", "tfrecon.data.sample")
    assert not wrong_imports("tfrecon.models.pix2pix", "tfrecon.layers.ranges")
    path = REPOSITORY / "tfrecon" / "training" / "loop.py"
    assert {"tfrecon.base.files", "tfrecon.training.datasets", "keras"} <= set(imports("x", path))


def test_recipes_and_key_formats_know_tfrecon_but_no_tensorflow():
    for package in FACTS:
        for name, path in modules(package):
            tops = {imported.split(".")[0] for imported in imports(name, path)}
            assert not tops & {"tensorflow", "keras"}, name


def in_fresh_python(code):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_recipes_pull_no_tensorflow_in():
    code = (
        "import sys\n"
        "from tfrecon.data import recipes\n"
        "for name in recipes.names(): recipes.find(name)\n"
        "print('tfrecon.data_pipelines.demo' in sys.modules, "
        "*[name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    assert in_fresh_python(code).split() == ["True"]


def test_help_of_every_verb_imports_nothing_heavy():
    code = (
        "import importlib, sys\n"
        f"for verb in {list(VERBS)}:\n"
        "    assert importlib.import_module('tfrecon.' + verb).main(['--help']) == 0\n"
        f"print('heavy:', *[name for name in {HEAVY} if name in sys.modules])"
    )
    said = in_fresh_python(code)
    assert said.splitlines()[-1] == "heavy:"
    for verb in VERBS:
        assert f"usage: python -m tfrecon.{verb}" in said


def test_presets_are_listed_without_tensorflow():
    code = (
        "import sys, tfrecon\n"
        "for preset in tfrecon.presets(): str(preset)\n"
        f"print('heavy:', *[name for name in {HEAVY} if name in sys.modules])"
    )
    assert in_fresh_python(code).splitlines()[-1] == "heavy:"


def test_a_wrong_argument_is_said_before_anything_heavy_is_imported():
    code = (
        "import sys; from tfrecon import fit\n"
        "assert fit.main(['--model', 'pix2pix', '--set', 'fit.epoch=3']) == 2\n"
        f"print('heavy:', *[name for name in {HEAVY} if name in sys.modules])"
    )
    assert in_fresh_python(code).splitlines()[-1] == "heavy:"


def test_files_of_images_have_one_decoder():
    """TensorFlow refuses some files that Pillow reads, so that a check by one says nothing of the
    other. What it may decode are the JPEG bytes that the damage of that name has made itself, and
    the colours of 16 bits of which Pillow reads 8, and what a server is sent."""
    decoders = {
        (name, node.attr)
        for name, path in modules("tfrecon")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith(("decode_", "read_file", "adjust_jpeg"))
        and ast.unparse(node.value) in ("tf.io", "tf.image")
    }
    assert decoders <= {
        ("tfrecon.data.damage.quality", "decode_jpeg"), ("tfrecon.base.carried", "decode_png"),
        ("tfrecon.inference.saved_model", "decode_image"),
    }  # fmt: skip


NOT_EVERYWHERE = {
    "os": {
        "chmod", "chown", "fork", "forkpty", "geteuid", "getloadavg", "getpgid", "getuid", "kill",
        "killpg", "lchmod", "link", "mkfifo", "nice", "rename", "sched_getaffinity",
        "sched_setaffinity", "setsid", "statvfs", "symlink", "sysconf", "umask", "uname",
    },
    "path": {"relpath"},  # between two drives there is no way
    "sys": {"getwindowsversion", "platform"},
    "platform": {"mac_ver", "system", "uname", "win32_ver"},
    "subprocess": {"CREATE_NEW_PROCESS_GROUP", "list2cmdline"},
}  # fmt: skip
"""Functions and names of a module that one system has and another has not or means otherwise."""
OF_A_PATH = {"chmod", "hardlink_to", "lchmod", "symlink_to"}
MODULES_OF_ONE = {
    "ctypes", "fcntl", "grp", "msvcrt", "multiprocessing", "pwd", "resource", "shlex", "termios",
    "winreg",
}  # fmt: skip
PLACES_OF_ONE = ("/proc", "/sys/", "/dev/", "/tmp", "/etc")
SIGNALS = {"SIGINT", "SIGTERM", "SIG_DFL", "SIG_IGN"}


def of_one_system(source):
    """What in a source is there, or means the same, on one operating system alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value).rpartition(".")[2]
            signal = node.attr.startswith("SIG") and node.attr.isupper()
            if (
                node.attr in NOT_EVERYWHERE.get(base, ()) or node.attr in OF_A_PATH
                or (base == "signal" and signal and node.attr not in SIGNALS)
            ):  # fmt: skip
                yield ast.unparse(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            named = [getattr(node, "module", None), *(alias.name for alias in node.names)]
            yield from MODULES_OF_ONE & {name.split(".")[0] for name in named if name}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith(PLACES_OF_ONE):
                yield node.value
        elif isinstance(node, ast.keyword) and node.arg in ("preexec_fn", "start_new_session"):
            yield node.arg
        elif isinstance(node, ast.Call):
            yield from without_encoding(node)


def without_encoding(call):
    """A text that is read or written as each system does by itself: UTF-8 or not."""
    name = ast.unparse(call.func).rpartition(".")[2]
    values = [a.value for a in call.args if isinstance(a, ast.Constant)]
    binary = any(isinstance(value, str) and "b" in value for value in values)
    told = any(keyword.arg in ("encoding", None) for keyword in call.keywords)
    opened = name == "open" and values and not binary
    text = name in ("read_text", "write_text") and len(call.args) < 2 - (name == "read_text")
    if (opened or text) and not told:
        yield ast.unparse(call)


def test_what_one_system_alone_has_is_called_in_one_module():
    seen = (
        "import fcntl", "from multiprocessing import Pool", "os.sched_getaffinity(0)",
        "os.path.relpath(a)", "signal.SIGKILL", "path.chmod(0)", "Path('/proc/cpuinfo')",
        "Popen(a, start_new_session=True)", "path.read_text()", "path.open('w')",
    )  # fmt: skip
    for source in seen:
        assert [*of_one_system(source)], source
    assert not [*of_one_system("path.open('rb'); path.read_text(encoding='utf-8'); os.replace(a)")]
    found = {
        f"{name}: {what}"
        for package in ("tfrecon", *FACTS)
        for name, path in modules(package)
        for what in of_one_system(path.read_text(encoding="utf-8"))
        if name != "tfrecon.base.platforms"
    }
    assert not found, "move it into tfrecon/base/platforms.py, with what the other systems do"


def test_import_tfrecon_is_light():
    code = (
        "import sys, tfrecon\n"
        "print([name for name in ('numpy', 'tensorflow') if name in sys.modules])"
    )
    assert in_fresh_python(code).split() == ["[]"]


PUBLIC = {
    "Config", "DataConfig", "FitConfig", "Sample", "Spec", "UserError", "__version__", "compare",
    "dataset", "evaluate_runs", "feature_inversion", "harmonic_fill", "keras_dataset", "open_run",
    "pix2pix", "presets", "restore", "restorer", "samples",
}  # fmt: skip


def test_the_public_names_are_these():
    """Whoever changes this set writes a line into CHANGELOG.md."""
    assert set(tfrecon.__all__) == PUBLIC
    assert set(dir(tfrecon)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_is_the_thing_of_its_module(name):
    thing = getattr(tfrecon, name)
    assert thing.__name__ == name and thing.__module__.startswith("tfrecon.")
    assert thing.__doc__


def test_editors_see_the_same_names():
    tree = ast.parse((REPOSITORY / "tfrecon" / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == tfrecon._HOMES


def test_no_public_name_is_that_of_a_module():
    """Importing the module would put it in the place of the name."""
    beside = {path.stem for path in (REPOSITORY / "tfrecon").iterdir()}
    assert not beside & set(tfrecon.__all__)
    assert not set(VERBS) & set(tfrecon.__all__)


def test_version(monkeypatch):
    assert isinstance(tfrecon.__version__, str) and tfrecon.__version__[0].isdigit()
    from importlib import metadata

    from tfrecon.base import facts

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert facts.version() == "0+unknown"
    with pytest.raises(AttributeError, match="no attribute 'fit_all'"):
        tfrecon.fit_all  # noqa: B018 - the access is what is tested


def test_the_wheel_holds_every_folder_and_nothing_of_another_name():
    tool = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    packages, data = tool["setuptools"]["packages"], tool["setuptools"]["package-data"]
    ours = {path.parent for path in (REPOSITORY / "tfrecon").rglob("*.py")}
    folders = {".".join(path.relative_to(REPOSITORY).parts) for path in ours}
    assert set(packages) == folders | {
        f"tfrecon.{name}" for name in (*FACTS, "configs", "preset_files")
    }
    others = {
        path for path in (REPOSITORY / "tfrecon").rglob("*.*") if path.suffix not in (".py", ".pyc")
    }
    for path in others:
        assert path.name in data[".".join(path.parent.relative_to(REPOSITORY).parts)], path


def test_every_verb_has_a_module_with_parser_and_main():
    for verb in VERBS:
        assert importlib.util.find_spec(f"tfrecon.{verb}")
        module = importlib.import_module(f"tfrecon.{verb}")
        assert callable(module.main) and callable(module.parser)
