"""Tools of the developers; nothing of it is part of the installed package."""
