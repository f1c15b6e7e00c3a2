"""What differs between the model APIs, and nothing else."""
