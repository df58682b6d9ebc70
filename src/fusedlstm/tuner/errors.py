"""What a trial may raise beside the ordinary: both say what becomes of the search."""


class FailedTrialError(Exception):
    """Raised by a program: this trial has failed, and trying it again would be no use."""


class FatalError(RuntimeError):
    """The search itself is set up wrongly, whatever the hyperparameters; it ends at once."""
