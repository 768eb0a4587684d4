"""One file a family; a variant is a choice over one class."""
