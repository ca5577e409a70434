"""The operator's commands: each adds itself to the parser, and is a function from options to an exit code."""
