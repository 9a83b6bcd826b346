"""Protocols, metrics, experiments and their reports."""
