"""Errors that a user can fix. Each message says what is wrong, where, and the remedy."""

from __future__ import annotations

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
