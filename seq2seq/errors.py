"""Errors that the user can repair."""


class UserError(ValueError):
    """Error in the options, files or data of the user; the commands print it as one line, without a traceback.

    A constructor names only its own options in the message: ``heads=3 must divide dim=128``. The code that builds the
    object from a config (``seq2seq.config.instantiate``) puts the config key before the message.
    """


class OptionError(UserError):
    """Error in an option; the message already contains the key that a user types."""


class UnknownOption(OptionError):
    """Error for an option that the component does not have.

    Args:
        node: Config key of the component.
        option: Name of the unknown option.
        owner: Name of the component in the message.
        hint: Text at the end of the message, for example the options that exist.
    """

    def __init__(self, node: str, option: str, owner: str, hint: str) -> None:
        super().__init__(f"{node}.{option}: {owner} has no option {option}{hint}")
        self.node, self.option, self.owner, self.hint = node, option, owner, hint
