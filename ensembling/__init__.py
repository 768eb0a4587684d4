"""What happens between members and the stack: their logits, heads and leakage."""
