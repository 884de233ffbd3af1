"""Which tests run: long ones only when they are asked for, and in CI every other one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator

# Test data of others that may stand beside the checkout. Only what needs it may be skipped in CI.
_BESIDE: Final = "../shared"

# How long an example takes says more of the machine than of us.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    """Leave out `soak` unless an expression of marks says what to run."""
    if not config.option.markexpr:
        config.option.markexpr = "not soak"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a skip fail in CI: a test that does not run there proves nothing."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let a module that skips itself fail in CI, too."""
    report = yield
    _judge(report)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = str(report.longrepr)
    if os.environ.get("CI") == "true" and report.skipped and _BESIDE not in reason:
        report.outcome = "failed"
        report.longrepr = f"skipped, which fails in CI: {reason}"
