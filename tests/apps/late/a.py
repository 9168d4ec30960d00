"""Imported by a request."""
