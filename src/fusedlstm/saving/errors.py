"""The one error that all loaders raise for a file that is not what it should be."""


class FileError(ValueError):
    """A file cannot be loaded: damaged, of another kind, or it does not fit the model."""
