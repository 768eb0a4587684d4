"""Images in shards: files of many samples each, read from a folder or fetched from an object store."""
