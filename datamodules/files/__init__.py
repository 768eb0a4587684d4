"""Image files and tables of them: found, checked, decoded, stored."""
