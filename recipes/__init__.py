"""The recipes: one YAML file each, the launch line on top."""
