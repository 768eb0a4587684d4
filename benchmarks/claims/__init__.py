"""What the docs claim: records of what was measured, the page that is made of them, and a check of all numbers."""
