"""Errors a user can mend: each message names the input and the remedy."""

from __future__ import annotations


class SiamFFNError(Exception):
    """Base of all errors caused by input; the command line prints it without a traceback."""


class ImageError(SiamFFNError):
    """An image cannot be used: unreadable, empty, of the wrong shape, type or encoding."""


class BoxError(SiamFFNError):
    """A box cannot be used: not finite, without area, or outside the image."""


class WeightsError(SiamFFNError):
    """A weight file is missing, damaged, or belongs to another network."""


class DataError(SiamFFNError):
    """A data set, sequence, bag or configuration file is incomplete or damaged."""
