"""Turn whole-slide images into cells, without annotations."""

__version__ = "0.1.0"
