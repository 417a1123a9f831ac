"""Errors that a user can fix. Each message says what is wrong, where, and the remedy."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = 'siamffn-tracker'  # what pip installs, in pyproject.toml
INTERRUPTED = 130  # exit status of a program that Ctrl-C has ended


class SiamFFNError(Exception):
    """Base class of errors that input causes; the command line prints them without a traceback."""


class ImageError(SiamFFNError):
    """An image cannot be used: unreadable, empty, or of an unsupported shape, type or encoding."""


class BoxError(SiamFFNError):
    """A box cannot be used: not finite, without area, or outside the image."""


class WeightsError(SiamFFNError):
    """A weight file or exported model is missing, damaged, or belongs to another model."""


class DataError(SiamFFNError):
    """A data set, sequence, bag or output file is missing, incomplete or damaged."""


class ConfigError(SiamFFNError):
    """A recipe, parameter, option or argument has a value that is not allowed."""


class DependencyError(SiamFFNError):
    """A package, build or device that this operation needs is not available."""


class NotReadyError(SiamFFNError):
    """The operation is not possible in the current state, such as before the first image."""


class ProcessError(SiamFFNError):
    """A child process failed, ended unexpectedly or did not answer in time."""


def missing_package(
    package: str, purpose: str, extra: str, alternative: str = ''
) -> DependencyError:
    """Return the error for a package that is not installed.

    The remedy is the extra, which pip adds to a wheel and to an editable checkout alike; where
    colcon has installed this package, which pip does not know, it is the missing package.

    Args:
        package: name of the package.
        purpose: what needs the package.
        extra: the extra of this distribution that installs the package.
        alternative: what can be done instead.
    """
    try:
        metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        argument = package
    else:
        argument = f"'{DISTRIBUTION}[{extra}]'"
    return DependencyError(
        f'{package} is not installed: {purpose} needs the extra [{extra}]; run '
        f'`pip install {argument}`{alternative and f", or {alternative}"}'
    )
