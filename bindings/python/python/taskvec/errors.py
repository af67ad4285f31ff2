"""What can go wrong, by whose fault it is. Each says what was read, found and expected, and the remedy."""


class TaskvecError(Exception):
    """Anything that taskvec refuses or cannot do."""


class RequestError(TaskvecError, ValueError):
    """Texts or options of a call are wrong: an unknown task, a text that is too long where that is an error, …"""


class ModelError(TaskvecError):
    """A model's files are wrong, missing, or of a kind that taskvec does not know."""


class DeviceError(TaskvecError, RuntimeError):
    """A device is not there, failed, or has too little memory."""


class HubError(TaskvecError, OSError):
    """A model could not be had from the Hugging Face Hub."""


class CancelledError(TaskvecError):
    """The call was ended before it was done."""
