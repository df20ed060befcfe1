"""The queue: task names and the way to it. The agent gives the names their bodies."""
