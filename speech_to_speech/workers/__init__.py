"""A model behind a line of requests, run in batches on a thread or in a process of its own."""
