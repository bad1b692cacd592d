"""The `causeway` command. Thin: each subcommand parses its arguments and calls one module elsewhere."""
