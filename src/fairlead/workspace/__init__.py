"""What the code looks like: files, searches and repository maps from cache, and never stale."""
