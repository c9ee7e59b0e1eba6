"""Unlabeled rows that stay on disk or in a stream, and .tar shards as they are made and read."""
