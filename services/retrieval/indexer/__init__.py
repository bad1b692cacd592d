"""The indexer: takes jobs from the queue, and brings documents into the index or out of it."""
