"""The one exception that is the user's to mend."""


class UserError(ValueError):
    """A mistake in options, files or data. The commands print it as one line, without a traceback."""
