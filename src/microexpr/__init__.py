"""Facial micro-expression recognition with an evaluation that cannot leak."""

__version__ = "0.1.0"
