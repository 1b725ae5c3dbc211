"""Limits and budgets: reserve the worst case in every scope at once, settle by what was used."""
