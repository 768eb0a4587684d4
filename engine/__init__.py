"""How Lightning runs here: lean loops, memory, processes."""
