"""What happens between bases and the stack: their logits, heads and leakage."""
