"""Runs that are saved while they train: what a checkpoint holds, and how it lies on disk."""
