"""How models are trained: losses, schedules, parameter groups, freezing."""
