"""What a person meets before any work: how loud a command is, versions, completion, extras."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tfrecon import __main__ as command
from tfrecon import doctor, fit
from tfrecon.base import extras, facts, platforms
from tfrecon.base.bars import tqdm
from tfrecon.base.cards import Preset
from tfrecon.base.cli import Parser, run
from tfrecon.base.errors import UserError
from tfrecon.training import diagnosis

REPOSITORY = Path(__file__).parents[1]

SAYS = "import os\nos.write(2, b'I0000 port.cc:153] a line of C++\\n')\n"
"""The beginning of stand-ins for TensorFlow."""
WORKS = SAYS + (
    "class config: list_physical_devices = staticmethod(lambda: os.write(2, b'no GPU\\n'))\n"
)


def started(folder, source, verbose=False, **environment):
    """A fresh process in which a stand-in of this `source` is started as TensorFlow."""
    folder.mkdir(exist_ok=True)
    (folder / "tensorflow.py").write_text(source)
    code = (
        "from tfrecon.base import cli\n"
        f"parser = lambda: cli.Parser('x', '')\n"
        "body = lambda arguments: (cli.start_tensorflow(), print('started'))\n"
        f"raise SystemExit(cli.run(parser, body, {['-v'] if verbose else []}))"
    )
    path = os.pathsep.join((str(folder), str(REPOSITORY)))
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("level", ["", "0", "3"])
def test_what_tensorflow_says_at_its_start_is_shown_on_demand_alone(tmp_path, level):
    done = started(tmp_path, WORKS, TF_CPP_MIN_LOG_LEVEL=level)
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")
    done = started(tmp_path, WORKS, verbose=True)
    assert done.returncode == 0 and "a line of C++" in done.stderr and "no GPU" in done.stderr


def test_a_notebook_is_not_filled_with_it_either(tmp_path):
    (tmp_path / "tensorflow.py").write_text(WORKS)
    (tmp_path / "ipykernel.py").touch()
    path = os.pathsep.join((str(tmp_path), str(REPOSITORY)))
    for notebook, started in (("import ipykernel, ", True), ("import ", False)):
        code = f"{notebook}sys, tfrecon; tfrecon.Config; print('tensorflow' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == (f"{started}\n", "")


@pytest.mark.parametrize(
    ("ends", "code", "words"),
    [
        ("raise ImportError('libfoo.so is missing')", 2, "(ImportError: libfoo.so is missing)"),
        ("raise SystemError", 2, "tfrecon.doctor names the command that mends it"),
        ("os.abort()", -6, ""),
    ],
)
def test_where_it_does_not_start_all_that_it_has_said_is_shown(tmp_path, ends, code, words):
    done = started(tmp_path, SAYS + ends)
    assert done.returncode == code and not done.stdout
    assert "a line of C++" in done.stderr and words in done.stderr


def test_every_verb_starts_tensorflow_in_this_way():
    sources = {verb: (REPOSITORY / "tfrecon" / f"{verb}.py").read_text() for verb in command.VERBS}
    other = {verb for verb, source in sources.items() if "start_tensorflow()" not in source}
    assert other == {"doctor"}, "which leaves it to another process"


def loud(*words):
    def body(arguments):
        with tqdm(total=2) as bar:
            bar.update()
        print("a note")
        print("warning: a warning", file=sys.stderr)
        if arguments.trust_code:
            raise UserError("it is wrong; mend it")

    return run(lambda: Parser("x", ""), body, words)


def test_a_quiet_command_prints_warnings_and_errors_alone(capsys):
    assert loud() == 0
    said = capsys.readouterr()
    assert "a note" in said.out and "50%" in said.err
    assert loud("--quiet", "--trust-code") == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "warning: a warning\nerror: it is wrong; mend it\n")
    assert "TQDM_DISABLE" not in os.environ


def test_a_verbose_command_says_where_an_error_was_found(capsys):
    assert loud("-v", "--trust-code") == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and said.endswith("error: it is wrong; mend it\n")
    assert loud("-v", "-q") == 2 and loud("--trust-code") == 2
    assert "Traceback" not in capsys.readouterr().err


def called(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["tfrecon", *words])
    return command.main()


def test_version_and_unknown_words(monkeypatch, capsys):
    assert called(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"tfrecon {facts.version()}\n"
    assert called(monkeypatch, "fitt") == 2
    assert capsys.readouterr().err == "error: unknown verb 'fitt'; did you mean 'fit'?\n"


def test_completion_knows_every_verb_option_and_name(monkeypatch, capsys, tmp_path):
    assert called(monkeypatch, "--print-completion", "bash") == 0
    script = tmp_path / "complete.sh"
    script.write_text(capsys.readouterr().out)

    def completed(*words, begun=""):
        code = (
            f"source {script}; COMP_WORDS=(tfrecon {' '.join(words)} '{begun}'); "
            "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); compopt() { :; }; _shtab_tfrecon; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=tmp_path)
        return {*done.stdout.split()}

    assert completed() >= {*command.VERBS}
    assert completed("fit", begun="-") >= {*fit.parser()._option_string_actions}
    assert completed("fit", "--model") >= {"pix2pix", "diffusion"}
    assert completed("reconstruct", "--preset") >= {"inpainting", "scratches"}
    assert "complete.sh" in completed("fit", "--config")
    assert called(monkeypatch, "--print-completion", "zsh") == 0
    assert "#compdef tfrecon" in capsys.readouterr().out
    assert called(monkeypatch, "--print-completion", "edlin") == 2
    assert "unknown shell 'edlin'; known: bash" in capsys.readouterr().err


def test_a_missing_extra_is_named_with_the_command_that_adds_it(monkeypatch, capsys):
    find = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "shtab", None)
        patch.setattr(importlib.util, "find_spec", lambda n: None if n == "shtab" else find(n))
        assert called(patch, "--print-completion", "bash") == 2
    sentence = (
        '--print-completion needs the package shtab; add it with pip install "tfrecon[completion]"'
    )
    assert capsys.readouterr().err == f"error: {sentence}\n"
    monkeypatch.setitem(sys.modules, "pandas", types.ModuleType("pandas"))
    monkeypatch.setitem(sys.modules, "pyarrow", types.ModuleType("pyarrow"))
    assert not extras.missing("pandas")


def test_extras_are_those_of_the_package():
    import tomllib

    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    declared = declared["project"]["optional-dependencies"]
    assert set(extras.EXTRAS) <= set(declared)
    with contextlib.suppress(UserError):
        for extra in extras.EXTRAS:
            extras.imported(extra, "a test")


# --- the doctor ---------------------------------------------------------------------------------

WELL = {
    "tensorflow": "2.21.0", "keras": "3.15.1", "gpus": [], "precision": "float32", "weights": {},
}  # fmt: skip


@pytest.fixture
def well(monkeypatch, tmp_path):
    """A machine on which nothing is broken."""
    monkeypatch.setattr(diagnosis, "_tried", lambda: WELL)
    monkeypatch.setattr(diagnosis, "_gpu", lambda: "")
    monkeypatch.setattr(platforms, "memory_bytes", lambda: float(8 << 30))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.delenv("TFRECON_WEIGHTS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_doctor_tells_what_there_is(well, capsys):
    (well / "checkpoints/.cache").mkdir(parents=True)
    (well / "checkpoints/.cache/photos.u8").write_bytes(bytes(3 << 20))
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    for words in (
        f"tfrecon {facts.version()}", "TensorFlow 2.21.0, Keras 3.15.1", "devices: CPU\n",
        'precision "auto" is float32 here', "checkpoints/.cache, 3.0 MiB", "caches/tfrecon, not",
        "preset inpainting: verified by its SHA-256", "completion: installed", " cores",
        "memory: 8.0 GiB",
    ):  # fmt: skip
        assert words in said
    assert said.endswith("\nnothing is broken\n")


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ("raise ImportError('libfoo.so is missing')", "(ImportError: libfoo.so is missing); pip"),
        (
            "os.abort()",
            "ended with code -6: I0000 port.cc:153] a line of C++); pip install --force",
        ),
    ],
)
def test_the_doctor_outlives_a_broken_tensorflow(tmp_path, monkeypatch, capsys, ends, words):
    (tmp_path / "tensorflow.py").write_text(SAYS + ends)
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.main([]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: 1 broken: TensorFlow does not start") and words in said.err
    assert "preset inpainting" in said.out and "extras:" in said.out, "all else is told"


def test_the_doctor_names_what_mends_each(well, monkeypatch, capsys):
    def version(package, real=extras.metadata.version):
        if package == "polars":
            raise extras.metadata.PackageNotFoundError(package)
        return "1.0" if package == "numpy" else real(package)

    monkeypatch.setattr(extras.metadata, "version", version)
    monkeypatch.setattr(diagnosis, "_gpu", lambda: "GPU 0: Tesla T4")
    monkeypatch.setattr(Preset, "check", lambda self: (_ for _ in ()).throw(UserError("preset x")))
    monkeypatch.setenv("TFRECON_WEIGHTS", "nowhere")
    assert doctor.main(["-q"]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("error: 6 broken: ")
    for words in (
        'numpy 1.0 is not <3,>=2.0; pip install "numpy<3,>=2.0"',
        'polars is missing; pip install "polars', "$TFRECON_WEIGHTS names 'nowhere'",
        'does not use GPU 0: Tesla T4; pip install "tfrecon[gpu]"',
    ):  # fmt: skip
        assert words in said.err


def test_what_needs_tensorflow_is_told_by_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TFRECON_WEIGHTS", str(tmp_path))
    (tmp_path / "alexnet_features.npz").write_bytes(b"a pack")
    (tmp_path / "lpips_vgg.pth").write_bytes(b"other bytes")
    diagnosis.probe()
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == WELL.keys() and found["keras"].startswith("3.")
    assert found["precision"] in ("float32", "bfloat16", "float16")
    pack, heads = found["weights"].values()
    assert pack == {"known": "no hash of it is published"}
    assert "SHA256" in heads["wrong"] and "remove it" in heads["wrong"]
