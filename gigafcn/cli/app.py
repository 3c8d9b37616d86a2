"""Which command was asked for, and with which code does the process end?

:func:`main` parses, runs one command and turns every outcome into an exit code and, if it failed,
into one line on stderr.  Commands live in their own modules and import the library when they run,
so that ``gigafcn --help`` does not wait for torch.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import NoReturn

from cyclopts import (
    App,
    CycloptsError,
    Group,
    MissingArgumentError,
    UnusedCliTokensError,
    ValidationError,
)
from pydantic import ValidationError as InvalidOptions

from gigafcn.cli.answers import TYPED, show_answers
from gigafcn.cli.check import check
from gigafcn.cli.demo import demo
from gigafcn.cli.evaluate import evaluate
from gigafcn.cli.export import export
from gigafcn.cli.infer import infer
from gigafcn.cli.inspect import inspect
from gigafcn.cli.plan import plan
from gigafcn.cli.reporting import fail, one_line
from gigafcn.cli.signals import on_signals, preempted
from gigafcn.cli.verify import verify
from gigafcn.cli.view import view
from gigafcn.config.reading import first_problem
from gigafcn.errors import GigafcnError
from gigafcn.schedule.resources import waiting_policy

USAGE, FAILED, INTERRUPTED = 2, 5, 130


EXPORT_EXAMPLES = (
    "Examples: gigafcn export slide.zarr --to ome-tiff\n\n"
    "gigafcn export slide.zarr --to geojson --class nuclei --min-area 10"
)


def build_app() -> App:
    """Gather the commands."""
    app = App(
        name="gigafcn",
        version=lambda: f"gigafcn {version('gigafcn')}",
        help="Map a slide of any size with a fully convolutional model, exactly: the map equals "
        "what the model would say had the whole slide fitted in memory.",
        group_parameters=Group("Options", sort_key=0),
        suppress_keyboard_interrupt=False,
    )
    app.command(
        infer,
        usage="Usage: gigafcn infer SLIDE... [-o OUT] [OPTIONS]",
        sort_key=1,
        help_epilogue="Example: gigafcn infer case.svs -m my.nets:unet -o maps/ --memory 8GiB\n\n"
        "Exit codes: 0 done, 2 usage, 3 input, 4 model, 5 failed while running, "
        "75 pre-empted, 130 interrupted.",
    )
    app.command(plan, usage="Usage: gigafcn plan SLIDE [OPTIONS]", sort_key=2)
    app.command(inspect, usage="Usage: gigafcn inspect MODEL [OPTIONS]", sort_key=3)
    app.command(
        verify,
        usage="Usage: gigafcn verify MODEL [SLIDE] [OPTIONS]",
        sort_key=3.5,
        help_epilogue="Exit codes: 0 it holds, 4 it does not or the model is not local.",
    )
    app.command(
        check,
        usage="Usage: gigafcn check OUT [--repair] [OPTIONS]",
        sort_key=5,
        help_epilogue="Exit codes: 0 the map is as it was written, or is so again, 5 it is not.",
    )
    app.command(
        export,
        usage="Usage: gigafcn export OUT --to FORMAT [-o FILE] [OPTIONS]",
        sort_key=6,
        help_epilogue=EXPORT_EXAMPLES,
    )
    app.command(evaluate, usage="Usage: gigafcn evaluate OUT TRUTH [OPTIONS]", sort_key=7)
    app.command(view, usage="Usage: gigafcn view OUT [--port PORT]", sort_key=8)
    app.command(demo, usage="Usage: gigafcn demo [OPTIONS]", sort_key=4)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Words after the program's name; if None, those of this process.

    Returns
    -------
    int
        The exit code.
    """
    if arguments is None:
        _collect_rarely()
    words = list(sys.argv[1:] if arguments is None else arguments)
    TYPED.set(tuple(words))
    os.environ.update(waiting_policy(os.environ))  # before a command loads torch

    def run() -> object:
        return build_app()(
            words, exit_on_error=False, print_error=False, result_action="return_value"
        )

    return guarded(run, debug="--debug" in words, quiet="--quiet" in words)


def _collect_rarely() -> None:
    """Spare a process of the command's own most of its search for unreachable objects.

    Torch brings hundreds of thousands of objects that live as long as the process. To go through
    them again and again takes 0.9 s of a run, and a last time at its end 1.1 s.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def guarded(run: Callable[[], object], *, debug: bool = False, quiet: bool = False) -> int:
    """Run a command and turn its outcome into an exit code, and a failure into one line.

    Parameters
    ----------
    run
        The command; what it returns is the exit code if it is a number.
    debug
        Show what the libraries log and warn of, and the traceback of an error.
    quiet
        Show only warnings of gigafcn's own.
    """
    try:
        with _terminable(), _logging_to_stderr(debug=debug, quiet=quiet):
            outcome = run()
        return outcome if isinstance(outcome, int) else 0
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on from here")
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, code = explained(error)
        fail(message)
        show_answers(error)
        return code


def explained(error: Exception) -> tuple[str, int]:
    """Say in one line what went wrong, and which exit code that is."""
    if isinstance(error, CycloptsError):
        return _usage_problem(error), USAGE
    if isinstance(error, GigafcnError):
        return one_line(error), error.exit_code
    name = type(error).__name__
    return f"unexpected {name}: {one_line(error)}; run with --debug for the traceback", FAILED


def _usage_problem(error: CycloptsError) -> str:
    error.verbose = False
    cause = error.__cause__
    if isinstance(error, ValidationError) and isinstance(cause, InvalidOptions):
        return first_problem(cause, label=_flag)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"unexpected argument {error.unused_tokens[0]!r}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        command = " ".join(["gigafcn", *(error.command_chain or ())])
        what = "needs a value" if name.startswith("-") else "is missing"
        return f"{name} {what}; see {command} --help"
    message = one_line(error)
    return message[:1].lower() + message[1:].removesuffix(".")


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, which clusters send before they take a machine away, end a command well."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise preempted()

    with on_signals({signal.SIGTERM: stop}):
        yield


class _StderrHandler(logging.Handler):
    """Writes log records as lines of the command; follows a stderr that is replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        sys.stderr.write(f"gigafcn: {level}{record.getMessage()}\n")


@contextmanager
def _logging_to_stderr(*, debug: bool, quiet: bool) -> Iterator[None]:
    own, others = logging.getLogger("gigafcn"), logging.getLogger()
    # What another library logs is no news to a user: the error that follows says it in one line.
    handler, elsewhere = _StderrHandler(), _StderrHandler() if debug else logging.NullHandler()
    before = own.level, own.propagate
    own.addHandler(handler)
    own.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
    own.propagate = False
    others.addHandler(elsewhere)
    try:
        with warnings.catch_warnings():
            if not debug:  # nor are deprecations inside other packages
                warnings.simplefilter("ignore")
            yield
    finally:
        others.removeHandler(elsewhere)
        own.removeHandler(handler)
        own.level, own.propagate = before
