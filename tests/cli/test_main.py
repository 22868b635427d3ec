"""The frame of the command line: help, exit codes, and one line for what went wrong."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import foreseen
from foreseen.cli import COMMANDS, main
from foreseen.cli.options import call
from foreseen.errors import UserError
from foreseen.methods import METHODS


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[str]], Any]], None]:
    """Makes "methods" do something else."""

    def put(function: Callable[[list[str]], Any]) -> None:
        import foreseen.cli.methods as module

        monkeypatch.setattr(module, "run", function)

    return put


def exit_of(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(args))
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        main(words)
        said = capsys.readouterr().out
        for name, (_, line) in COMMANDS.items():
            assert re.search(rf"^  {name} +{line}$", said, re.MULTILINE)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"foreseen {foreseen.__version__}\n"


@pytest.mark.parametrize(("word", "message"), [
    ("trian", "foreseen: error: unknown command 'trian': did you mean 'train'?\n"),
    ("--traim", "foreseen: error: unknown option '--traim': did you mean 'train'?\n"),
])  # fmt: skip
def test_unknown_words(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(word) == 2
    assert capsys.readouterr().err == message


class Stopped(KeyboardInterrupt):
    exit_code = 143


@pytest.mark.parametrize(("error", "code", "message"), [
    (UserError("a is wrong:\n mend b."), 2, "foreseen: error: a is wrong: mend b.\n"),
    (KeyboardInterrupt(), 130, "foreseen: stopped.\n"),
    (Stopped("saved."), 143, "foreseen: saved.\n"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.png"), 2,
     "foreseen: error: no space left on the disk to write out.png: free some and run it again.\n"),
    (PermissionError(errno.EACCES, "denied", "/root/x"), 2,
     "foreseen: error: /root/x: no permission; choose another place, or change the permissions.\n"),
])  # fmt: skip
def test_errors_are_one_line(
    error: BaseException, code: int, message: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: list[str]) -> None:
        raise error

    command(fail)
    assert exit_of("methods") == code
    assert capsys.readouterr().err == message
    with pytest.raises(type(error)):
        main(["methods", "--debug"])


def test_a_defect_is_not_dressed_up_as_bad_input(command: Any) -> None:
    def fail(args: list[str]) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", "x")

    command(fail)
    with pytest.raises(FileNotFoundError):
        main(["methods"])


def test_of_several_processes_the_first_speaks(
    command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert exit_of("trian") == 2
    assert capsys.readouterr().err == ""


def test_help_and_the_api_import_nothing_heavy() -> None:
    code = "import foreseen, foreseen.cli, sys; foreseen.cli.main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=600)


def test_public_names() -> None:
    assert foreseen.__all__ == [
        "TrainConfig", "__version__", "evaluate_run", "load_dataset", "load_run", "run_training", "train"
    ]  # fmt: skip
    assert all(callable(getattr(foreseen, name)) for name in foreseen.__all__ if name != "__version__")
    assert dir(foreseen) == sorted(foreseen.__all__)
    with pytest.raises(AttributeError, match="module 'foreseen' has no attribute 'tain'"):
        foreseen.tain  # noqa: B018


def test_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "foreseen", "nothing"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and done.stderr.startswith("foreseen: error: unknown command 'nothing'")


def test_methods_prints_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods"])
    said = capsys.readouterr().out
    assert all(name in said for name in METHODS) and "2603.12078" in said


def test_doctor_reports(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    said = capsys.readouterr().out
    for subject in ("foreseen", "processor", "Numba cache", "CUDA", "gsplat", "free disk", "LPIPS weights"):
        assert subject in said
    assert "bad" not in said


def test_doctor_notes_that_gaussians_need_gsplat_on_a_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    monkeypatch.setattr("foreseen.cli.doctor.util.find_spec", lambda name: None)
    main(["doctor"])
    assert 'methods of Gaussians need it on CUDA, pip install ".[cuda]"' in capsys.readouterr().out


def test_doctor_finds_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import foreseen.cli.doctor as module

    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package"))
    assert exit_of("doctor") == 2
    said = capsys.readouterr()
    assert "missing or unfit: no-such-package." in said.err and "not installed" in said.out


def work(size: int, *, name: str = "x", wide: bool = False) -> tuple[int, str, bool]:
    """Does it."""
    return size, name, wide


def test_options_are_read_by_the_signature(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(work, ["--size", "3", "--wide"], "foreseen work") == (3, "x", True)
    with pytest.raises(SystemExit) as caught:
        call(work, ["--help"], "foreseen work")
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "foreseen work" in said and "Does it." in said


@pytest.mark.parametrize(("args", "message"), [
    (["--size", "3", "--widee"], r"foreseen work has no option '--widee': did you mean '--wide'\?$"),
    (["--siz", "3"], r"foreseen work has no option '--siz': did you mean '--size'\?$"),
    ([], r"^--size is missing. See foreseen work --help.$"),
    (["--size", "big"], r"--size.*'big'.* See foreseen work --help.$"),
    (["--size"], r"Missing value for argument '--size'.* See foreseen work --help.$"),
    (["--size", "3", "stray"], r"^foreseen work does not know what to do with 'stray'. See "),
])  # fmt: skip
def test_wrong_options_are_one_line(args: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call(work, args, "foreseen work")
    assert not set("│╭╰─") & set(str(caught.value))


def test_a_value_of_no_type_of_several_is_one_plain_line() -> None:
    def paint(colour: tuple[float, float] | None = None) -> None: ...

    with pytest.raises(
        UserError, match=r"^Error parsing --colour: .* from \['1'\]\. See foreseen paint --help\.$"
    ) as caught:
        call(paint, ["--colour", "1"], "foreseen paint")
    assert "[bold]" not in str(caught.value)


def test_a_signal_while_nothing_runs_leaves_quietly() -> None:
    code = (
        "import foreseen.cli.methods as m, os, signal, time; from foreseen.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background inherits deaf ears
        "m.run = lambda args: (os.kill(os.getpid(), signal.SIGINT), time.sleep(5))\n"
        "main(['methods'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 128 + signal.SIGINT and done.stderr == "foreseen: stopped.\n"
