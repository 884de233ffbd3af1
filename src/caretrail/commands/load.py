"""What `caretrail load` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caretrail import opening
from caretrail.errors import ConfigurationError, Error
from caretrail.loading import Loader, portions, read, read_provider
from caretrail.patterns.providers.table import PROVIDERS
from caretrail.repository import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from caretrail.settings import Settings

_PROBLEMS_SHOWN: Final = 20


async def load_files(
    settings: Settings,
    files: Sequence[Path],
    *,
    skip: int,
    provider: str,
    bar: Any,
    say: Callable[[str], None],
) -> int:
    """Load the files into the data folder; return the exit code.

    With a `provider` they are what that identity provider wrote.
    """
    if provider and provider not in PROVIDERS:
        raise ConfigurationError(f"--from is one of {', '.join(PROVIDERS)}")
    refused = 0
    async with opening.opened(settings) as log:
        for file in files:
            loader = Loader(log.repository, Sender(settings.producer, settings.organisation))
            task = bar.add_task(file.name, total=None)
            try:
                sources = read_provider(file, provider) if provider else read(file)
                for portion in portions(sources, skip=skip):
                    progress = await loader.take(portion)
                    bar.update(task, completed=progress.number)
            except (Error, KeyboardInterrupt) as error:
                say(f"{file}: stopped; go on with --skip {loader.progress.number}")
                if isinstance(error, Error):
                    raise
                return 130
            refused += loader.progress.refused
            _report(file, loader, say)
    return 1 if refused else 0


def _report(file: Path, loader: Loader, say: Callable[[str], None]) -> None:
    for number, error in loader.problems[:_PROBLEMS_SHOWN]:
        for issue in error.issues():
            say(f"{file}:{number}: {issue.expression} {issue.diagnostics}")
    done = loader.progress
    say(f"{file}: {done.stored} stored, {done.repeated} there before, {done.refused} in quarantine")
