"""What `make docs-test` runs, outside `make test`."""
