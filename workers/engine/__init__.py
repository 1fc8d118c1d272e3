"""What happens to a shard inside a worker: claim, read, answer, record, give back."""
