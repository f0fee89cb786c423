"""Helpers that the pipeline tests share."""
