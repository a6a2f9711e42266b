"""What each monitoring asset reads and writes."""

RECIPES = {}
