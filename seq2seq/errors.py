"""Mistakes that are the user's to mend."""


class UserError(ValueError):
    """A mistake in options, files or data. The commands print it as one line, without a traceback.

    A constructor names its own options alone: ``heads=3 must divide dim=128``. Whoever builds it from a config
    (``seq2seq.config.instantiate``) puts the key before it.
    """


class OptionError(UserError):
    """A mistake in an option whose message already has the key that a user types."""


class UnknownOption(OptionError):
    """An option that the component at the key ``node`` lacks; ``owner`` is what the message calls the component."""

    def __init__(self, node: str, option: str, owner: str, hint: str) -> None:
        super().__init__(f"{node}.{option}: {owner} has no option {option}{hint}")
        self.node, self.option, self.owner, self.hint = node, option, owner, hint
