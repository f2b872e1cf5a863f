"""What a campaign of many trainings takes: hours, disk and memory for a number of GPUs, as arithmetic."""
