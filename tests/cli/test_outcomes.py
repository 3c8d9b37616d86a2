"""Every outcome of a command has its exit code and at most one line on stderr."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
import warnings

import pytest

from gigafcn.cli.app import guarded, main
from gigafcn.errors import (
    GigafcnError,
    ModelError,
    NonLocalError,
    Preempted,
    RunError,
    SlideError,
    UsageError,
)

Capture = pytest.CaptureFixture[str]


def raising(error: BaseException) -> object:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("tile is too small"), 2),
        (SlideError("case.svs is no image"), 3),
        (ModelError("net.pt is missing"), 4),
        (NonLocalError("norm is global"), 4),
        (RunError("disk is full"), 5),
        (GigafcnError("something"), 5),
        (Preempted("stopped"), 75),
    ],
)
def test_an_expected_error_is_its_message_and_its_code(
    error: GigafcnError, code: int, capsys: Capture
) -> None:
    assert guarded(lambda: raising(error)) == code
    assert capsys.readouterr().err == f"gigafcn: error: {error}\n"


def test_an_unexpected_error_points_to_debug(capsys: Capture) -> None:
    assert guarded(lambda: raising(ZeroDivisionError("division\nby zero"))) == 5
    assert capsys.readouterr().err == (
        "gigafcn: error: unexpected ZeroDivisionError: division by zero; "
        "run with --debug for the traceback\n"
    )


def test_debug_shows_the_traceback(capsys: Capture) -> None:
    assert guarded(lambda: raising(UsageError("no")), debug=True) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_in_one_line_with_130(capsys: Capture) -> None:
    assert guarded(lambda: raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.startswith("gigafcn: error: interrupted")


def test_sigterm_ends_a_command_in_good_order_with_75(capsys: Capture) -> None:
    def preempted_while_working() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    assert guarded(preempted_while_working) == 75
    assert "SIGTERM arrived" in capsys.readouterr().err


def test_the_handler_of_sigterm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    guarded(lambda: 0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_code_of_a_command_is_passed_on() -> None:
    assert guarded(lambda: 3) == 3
    assert guarded(lambda: None) == 0


@pytest.mark.parametrize(
    ("quiet", "expected"),
    [
        (False, "gigafcn: softmax is applied\ngigafcn: warning: mpp is unknown\n"),
        (True, "gigafcn: warning: mpp is unknown\n"),
    ],
)
def test_the_library_speaks_through_the_command(
    quiet: bool, expected: str, capsys: Capture
) -> None:
    def speak() -> None:
        logging.getLogger("gigafcn.model").info("softmax is applied")
        logging.getLogger("gigafcn.model").warning("mpp is unknown")

    assert guarded(speak, quiet=quiet) == 0
    assert capsys.readouterr().err == expected


def test_a_command_leaves_logging_as_it_was() -> None:
    logger = logging.getLogger("gigafcn")
    before = (list(logger.handlers), logger.level)
    guarded(lambda: 0)
    assert (list(logger.handlers), logger.level) == before


def test_warnings_of_other_packages_are_kept_from_the_user(capsys: Capture) -> None:
    assert guarded(lambda: warnings.warn("old", DeprecationWarning, stacklevel=1)) == 0
    assert capsys.readouterr().err == ""


def test_a_caller_of_main_keeps_the_pace_of_its_garbage_collector() -> None:
    before = gc.get_threshold()
    assert main(["--version"]) == 0
    assert gc.get_threshold() == before
