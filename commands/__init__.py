"""The command line. One module per command: `main(argv, prog)` returns its exit status; ccli.cli calls it."""
