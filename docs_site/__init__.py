"""What the documentation site makes of the code at build: options, commands, licences, notebooks, pictures."""
