"""Errors a user can fix: each message says what is wrong, where, and the remedy."""

from __future__ import annotations

INTERRUPTED = 130  # exit status of a program that was ended by Ctrl-C


class SiamFFNError(Exception):
    """Base of all errors caused by input; the command line prints it without a traceback."""


class ImageError(SiamFFNError):
    """An image cannot be used: unreadable, empty, of the wrong shape, type or encoding."""


class BoxError(SiamFFNError):
    """A box cannot be used: not finite, without area, or outside the image."""


class WeightsError(SiamFFNError):
    """A weight file is missing, damaged, or belongs to another network."""


class DataError(SiamFFNError):
    """A data set, sequence, bag or output file is missing, incomplete or damaged."""


class ConfigError(SiamFFNError):
    """A recipe, parameter, option or argument has a value that is not allowed."""


class DependencyError(SiamFFNError):
    """A package, build or device that this operation needs is not available."""


class NotReadyError(SiamFFNError):
    """The operation is not possible in the current state, such as before an image has arrived."""


class ProcessError(SiamFFNError):
    """A process that was started ended, failed or did not answer in time."""
