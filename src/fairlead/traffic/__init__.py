"""Who goes when and where: queueing before a server, balancing between servers."""
