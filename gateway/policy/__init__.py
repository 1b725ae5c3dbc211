"""Policies: the TOML that admins edit, compiled to a frozen set that knows file and line of every rule."""
