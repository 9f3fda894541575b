"""The command line: words, files, clocks, exit codes; one file a subcommand, loaded when chosen."""
