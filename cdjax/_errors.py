"""The one exception for input that a user can mend."""


class InputError(ValueError):
    """Bad input; the message is one line that names the culprit and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """
