"""What happens around the steps of a training; each file is one concern."""
